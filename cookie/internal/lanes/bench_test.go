package lanes

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	mrand "math/rand/v2"
	"testing"
)

// BenchmarkCookies includes all that a worker does for a cookie: the message is packed into its lane and the
// cookie is copied out.
func BenchmarkCookies(b *testing.B) {
	k := newKey(testSecret("bench"), 1)
	r := mrand.New(mrand.NewPCG(1, 1))
	var in [64]*Message
	for i := range in {
		in[i] = randomMessage(r)
	}
	for _, name := range append(Names(), Auto) {
		p, err := Select(name)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{1, 2, 4, 8, 16, 32, 64} {
			b.Run(fmt.Sprintf("impl=%s/batch=%d", name, n), func(b *testing.B) {
				batch := p.NewBatch(n)
				var c [64][Size]byte
				b.ReportAllocs()
				for b.Loop() {
					batch.Reset(n)
					for _, x := range in[:n] {
						batch.Add(x)
					}
					batch.Sum(k)
					for i := range n {
						batch.Cookie(i, &c[i])
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/cookie")
			})
		}
	}
}

// BenchmarkStdHMAC is what the kernels are measured against: the standard library, key set once.
func BenchmarkStdHMAC(b *testing.B) {
	h := hmac.New(sha256.New, make([]byte, len(Secret{})))
	m := make([]byte, MessageSize)
	var sum [sha256.Size]byte
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.Write(m)
		h.Sum(sum[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/cookie")
}
