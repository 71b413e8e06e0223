package handoff

import "github.com/dtlsguard/dtlsguard/cookie"

// trust issues and verifies the guard's own cookies.
type trust struct{ judge *cookie.Verifier }

// NewTrust makes the mode that issues and verifies cookies of the guard itself, computed by p, for batches of at
// most size hellos.
func NewTrust(p *cookie.Plan, size int) Verifier { return &trust{p.NewVerifier(size)} }

// Verify implements Verifier.
func (t *trust) Verify(k *cookie.Keyring, hellos []Hello) {
	t.judge.Begin(k, len(hellos))
	for i := range hellos {
		t.judge.Add(&hellos[i].Binding, hellos[i].Cookie)
	}
	t.judge.Finish()
	for i := range hellos {
		h := &hellos[i]
		if h.Verified = t.judge.Valid(i); !h.Verified {
			t.judge.Cookie(i, (*[cookie.Size]byte)(h.Answer[:]))
			h.Length = cookie.Size
		}
	}
}
