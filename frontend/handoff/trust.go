package handoff

import "github.com/dtlsguard/dtlsguard/cookie"

// newOwn makes the verifier of the guard's own cookies of mac's format, v1 or v2.
func newOwn(mac cookie.MAC, p *cookie.Plan, size int) Verifier {
	if mac == cookie.SipHash {
		return trustV2{}
	}
	return NewTrust(p, size)
}

// trust issues and verifies the guard's own cookies.
type trust struct{ verifier *cookie.Verifier }

// NewTrust makes the mode of the guard's own cookies of format v1, computed by p, for batches of at most size hellos.
func NewTrust(p *cookie.Plan, size int) Verifier { return &trust{p.NewVerifier(size)} }

// Verify implements Verifier.
func (t *trust) Verify(k *cookie.Keyring, hellos []Hello) {
	t.verifier.Begin(k, len(hellos))
	for i := range hellos {
		t.verifier.Add(&hellos[i].Binding, hellos[i].Cookie)
	}
	t.verifier.Finish()
	for i := range hellos {
		h := &hellos[i]
		if h.Verified = t.verifier.Valid(i); !h.Verified {
			t.verifier.Cookie(i, (*[cookie.Size]byte)(h.Answer[:]))
			h.Length = cookie.Size
		}
	}
}

// trustV2 is trust with cookies of format v2.
type trustV2 struct{}

// Verify implements Verifier.
func (trustV2) Verify(k *cookie.Keyring, hellos []Hello) {
	for i := range hellos {
		h := &hellos[i]
		if h.Verified = k.VerifyV2(&h.Binding, h.Cookie); !h.Verified {
			c := k.Current().IssueV2(&h.Binding)
			h.Length = copy(h.Answer[:], c[:])
		}
	}
}
