package cookie

import (
	mrand "math/rand/v2"
	"testing"
)

// A Verifier says of each ClientHello what Verify says of it alone, and issues what Issue does.
func TestVerifierAgreesWithVerify(t *testing.T) {
	older := NewKeyring(testSecret(t, "0"), 6)
	old, err := older.Next(testSecret(t, "1"), 7)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := old.Next(testSecret(t, "2"), 8)
	if err != nil {
		t.Fatal(err)
	}
	eachPlan(t, func(t *testing.T, p *Plan) {
		r := mrand.New(mrand.NewPCG(11, 12))
		j := p.NewVerifier(64)
		for round := range 300 {
			k := []*Keyring{ring, old, older}[round%3]
			n := 1 + r.IntN(64)
			j.Begin(k, n)
			var in []*Binding
			var cookies [][]byte
			for i := range n {
				b := randomBinding(r)
				c := someCookie(r, []*Keyring{ring, old, older}[r.IntN(3)].Current(), b)
				in, cookies = append(in, b), append(cookies, c)
				again := *b // the Verifier may not keep b itself
				if got := j.Add(&again, c); got != i || j.Len() != i+1 {
					t.Fatalf("ClientHello %d is number %d of %d", i, got, j.Len())
				}
				again = Binding{}
			}
			j.Finish()
			for i, b := range in {
				want := k.Verify(b, cookies[i])
				if got := j.Valid(i); got != want {
					t.Fatalf("ClientHello %d of %d with %x: %v, want %v", i, n, cookies[i], got, want)
				}
				var fresh [Size]byte
				if j.Cookie(i, &fresh); !want && fresh != k.Current().Issue(b) {
					t.Fatalf("ClientHello %d of %d: fresh cookie %x", i, n, fresh)
				}
			}
		}
	})
}

// someCookie returns no cookie, k's cookie, or one with a wrong byte.
func someCookie(r *mrand.Rand, k *Key, b *Binding) []byte {
	c := k.Issue(b)
	switch r.IntN(6) {
	case 0:
		return nil
	case 1:
		return c[:r.IntN(Size)]
	case 2:
		c[r.IntN(Size)] ^= 1 << r.IntN(8)
	case 3:
		c[0] = byte(r.Uint32())
	}
	return c[:]
}

// While all cookies have the current key ID there is one pass.
func TestVerifierComputesPreviousOnlyIfClaimed(t *testing.T) {
	old := NewKeyring(testSecret(t, "1"), 7)
	ring, err := old.Next(testSecret(t, "2"), 8)
	if err != nil {
		t.Fatal(err)
	}
	r := mrand.New(mrand.NewPCG(13, 14))
	j := NewVerifier(16)
	for claims := range 3 {
		j.Begin(ring, 16)
		for i := range 16 {
			b := randomBinding(r)
			k := ring.Current()
			if i < claims {
				k = old.Current()
			}
			c := k.Issue(b)
			j.Add(b, c[:])
		}
		j.Finish()
		if j.previous.Len() != claims || j.current.Len() != 16-claims {
			t.Errorf("%d cookies of the previous key ID: %d and %d computed", claims, j.previous.Len(), j.current.Len())
		}
	}
}

func TestVerifierDoesNotAllocate(t *testing.T) {
	old := NewKeyring(testSecret(t, "1"), 7)
	ring, err := old.Next(testSecret(t, "2"), 8)
	if err != nil {
		t.Fatal(err)
	}
	b := randomBinding(mrand.New(mrand.NewPCG(15, 16)))
	c := [][Size]byte{old.Current().Issue(b), ring.Current().Issue(b), {0: 7}, {0: 99}}
	j := NewVerifier(64)
	var fresh [Size]byte
	if n := testing.AllocsPerRun(100, func() {
		j.Begin(ring, 64)
		for i := range 64 {
			j.Add(b, c[i%len(c)][:])
		}
		j.Finish()
		for i := range 64 {
			if !j.Valid(i) {
				j.Cookie(i, &fresh)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}
