package cookie

import (
	"crypto/sha256"
	mrand "math/rand/v2"
	"testing"
)

// eachPlan runs a test on every implementation alone, and on plans that mix them.
func eachPlan(t *testing.T, f func(t *testing.T, p *Plan)) {
	for _, name := range append(Names(), Auto) {
		p, err := Select(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { f(t, p) })
	}
	for _, main := range implementations {
		for _, tail := range implementations {
			if main == tail || main.width < tail.width {
				continue
			}
			p := only(main)
			for n := range (main.width + 1) / 2 {
				p.tail[n] = tail
			}
			t.Run(main.name+"+"+tail.name, func(t *testing.T) { f(t, p) })
		}
	}
}

func TestBatchIsTheDocumentedFormat(t *testing.T) {
	eachPlan(t, func(t *testing.T, p *Plan) {
		r := mrand.New(mrand.NewPCG(1, 2))
		batch := p.NewBatch(130)
		for n := 1; n <= 130; n++ {
			s := Secret(sha256.Sum256([]byte{byte(n)}))
			k := NewKeyring(s, uint8(n)).Current()
			// The number told beforehand is an upper bound only.
			batch.Reset(n + r.IntN(130-n+1))
			var in []*Binding
			for i := range n {
				in = append(in, randomBinding(r))
				if lane := batch.Add(in[i]); lane != i || batch.Len() != i+1 {
					t.Fatalf("message %d is in lane %d of %d", i, lane, batch.Len())
				}
			}
			batch.Sum(k)
			for i := range n {
				var got [Size]byte
				batch.Cookie(i, &got)
				if want := reference(s, uint8(n), in[i]); got != want {
					t.Fatalf("batch of %d, lane %d: %x, want %x", n, i, got, want)
				}
				if !batch.Equal(i, got[:]) {
					t.Fatalf("batch of %d, lane %d is not equal to its own cookie", n, i)
				}
			}
		}
	})
}

func TestBatchDoesNotAllocate(t *testing.T) {
	k := NewKeyring(testSecret(t, "z"), 1)
	b := randomBinding(mrand.New(mrand.NewPCG(7, 8)))
	eachPlan(t, func(t *testing.T, p *Plan) {
		batch := p.NewBatch(64)
		var c [Size]byte
		if n := testing.AllocsPerRun(100, func() {
			batch.Reset(64)
			for range 64 {
				batch.Add(b)
			}
			batch.Sum(k.Current())
			for i := range 64 {
				batch.Cookie(i, &c)
				batch.Equal(i, c[:])
			}
		}); n != 0 {
			t.Errorf("%v allocations a batch", n)
		}
	})
	if n := testing.AllocsPerRun(100, func() {
		c := k.Current().Issue(b)
		k.Verify(b, c[:])
	}); n != 0 {
		t.Errorf("%v allocations for one cookie", n)
	}
}
