package lanes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
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
			k := newKey(s, uint8(n))
			// The number told beforehand is an upper bound only.
			batch.Reset(n + r.IntN(130-n+1))
			var in []*Message
			for i := range n {
				in = append(in, randomMessage(r))
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
	k := newKey(testSecret("z"), 1)
	b := randomMessage(mrand.New(mrand.NewPCG(7, 8)))
	eachPlan(t, func(t *testing.T, p *Plan) {
		batch := p.NewBatch(64)
		var c [Size]byte
		if n := testing.AllocsPerRun(100, func() {
			batch.Reset(64)
			for range 64 {
				batch.Add(b)
			}
			batch.Sum(k)
			for i := range 64 {
				batch.Cookie(i, &c)
				batch.Equal(i, c[:])
			}
		}); n != 0 {
			t.Errorf("%v allocations per batch", n)
		}
	})
	if n := testing.AllocsPerRun(100, func() {
		c := k.Sum(b)
		Equal(&c, c[:])
	}); n != 0 {
		t.Errorf("%v allocations for one cookie", n)
	}
}

// message is the 55 bytes that a cookie is the MAC of, in the words of the package comment.
func message(b *Message) []byte {
	be := binary.BigEndian
	m := append([]byte{1}, b.Source[:]...)
	m = be.AppendUint16(m, b.SourcePort)
	m = be.AppendUint16(m, b.DestinationPort)
	m = be.AppendUint16(m, b.Version)
	return append(m, b.Random[:]...)
}

// fill makes random bindings quickly.
func fill(r *mrand.Rand, in []Message) {
	le := binary.LittleEndian
	for i := range in {
		b := &in[i]
		for j := 0; j < len(b.Source); j += 8 {
			le.PutUint64(b.Source[j:], r.Uint64())
		}
		for j := 0; j < RandomSize; j += 8 {
			le.PutUint64(b.Random[j:], r.Uint64())
		}
		x := r.Uint64()
		b.SourcePort, b.DestinationPort, b.Version = uint16(x), uint16(x>>16), uint16(x>>32)
	}
}

// A million random pairs of secret and message, in batches of random size, against the standard library.
func TestMillionRandomPairs(t *testing.T) {
	pairs := 1_000_000
	if testing.Short() {
		pairs /= 20
	}
	r := mrand.New(mrand.NewPCG(31, 32))
	in := make([]Message, 130)
	for i := range in {
		in[i].Random = new([RandomSize]byte)
	}
	want := make([][sha256.Size]byte, len(in))
	batches := map[string]*Batch{}
	for _, name := range append(Names(), Auto) {
		p, err := Select(name)
		if err != nil {
			t.Fatal(err)
		}
		batches[name] = p.NewBatch(len(in))
	}
	for pairs > 0 {
		n := 1 + r.IntN(len(in))
		pairs -= n
		fill(r, in[:n])
		var s Secret
		for j := 0; j < len(Secret{}); j += 8 {
			binary.LittleEndian.PutUint64(s[j:], r.Uint64())
		}
		k := newKey(s, byte(n))
		h := hmac.New(sha256.New, s[:])
		for i := range n {
			h.Reset()
			h.Write(message(&in[i]))
			h.Sum(want[i][:0])
		}
		for name, b := range batches {
			b.Reset(n)
			for i := range n {
				b.Add(&in[i])
			}
			b.Sum(k)
			for i := range n {
				var c [Size]byte
				if b.Cookie(i, &c); c[0] != byte(n) || string(c[1:]) != string(want[i][:Size-1]) {
					t.Fatalf("%s, secret %x, message %x: cookie %x, want %02x%x", name, s[:], message(&in[i]), c, n, want[i][:Size-1])
				}
			}
		}
	}
}

// A change in one message changes that message's cookie and no other.
func TestLanesAreIndependent(t *testing.T) {
	k := newKey(testSecret("lanes"), 3)
	eachPlan(t, func(t *testing.T, p *Plan) {
		const n = 37 // groups of all widths, and one that is not full
		r := mrand.New(mrand.NewPCG(41, 42))
		in := make([]Message, n)
		for i := range in {
			in[i].Random = new([RandomSize]byte)
		}
		fill(r, in)
		b := p.NewBatch(n)
		compute := func() (c [n][Size]byte) {
			b.Reset(n)
			for i := range in {
				b.Add(&in[i])
			}
			b.Sum(k)
			for i := range c {
				b.Cookie(i, &c[i])
			}
			return c
		}
		before := compute()
		for i := range in {
			bit := r.IntN(8 * RandomSize)
			in[i].Random[bit/8] ^= 1 << (bit % 8)
			after := compute()
			for l := range after {
				if (after[l] != before[l]) != (l == i) {
					t.Errorf("random %d changed: cookie %d was %x and is %x", i, l, before[l], after[l])
				}
			}
			in[i].Random[bit/8] ^= 1 << (bit % 8)
		}
	})
}

// FuzzCookies compares every implementation with the standard library.
func FuzzCookies(f *testing.F) {
	f.Add([]byte("secret"), []byte("message"), uint8(1))
	f.Add(make([]byte, len(Secret{})), make([]byte, 64), uint8(130))
	f.Add([]byte{0xff}, []byte{0xff, 0x80, 0, 1}, uint8(17))
	f.Fuzz(func(t *testing.T, secret, msg []byte, n uint8) {
		var s Secret
		copy(s[:], secret)
		b := Message{Random: new([RandomSize]byte)}
		var m [16 + 6 + RandomSize]byte
		copy(m[:], msg)
		copy(b.Source[:], m[:])
		be := binary.BigEndian
		b.SourcePort, b.DestinationPort, b.Version = be.Uint16(m[16:]), be.Uint16(m[18:]), be.Uint16(m[20:])
		copy(b.Random[:], m[22:])
		count := 1 + int(n)
		want := reference(s, n, &b)
		for _, name := range append(Names(), Auto) {
			p, err := Select(name)
			if err != nil {
				t.Fatal(err)
			}
			batch := p.NewBatch(count)
			batch.Reset(count)
			for range count {
				batch.Add(&b)
			}
			batch.Sum(newKey(s, n))
			for i := range count {
				if !batch.Equal(i, want[:]) {
					t.Errorf("%s: lane %d of %d is not %x", name, i, count, want)
				}
			}
		}
	})
}
