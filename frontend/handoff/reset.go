package handoff

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Action is how the guard treats a ClientHello that is not verified.
type Action uint8

// The actions.
const (
	ActionVerify Action = iota // a HelloVerifyRequest
	ActionRetry                // a HelloRetryRequest
	ActionReset                // the cookie is valid: the address is recorded, and an alert makes the client start over

	// Those without an answer:
	ActionDenied   // its address is on the deny list
	ActionLimited  // too many from unproved addresses
	ActionNoRetry  // of DTLS 1.3, in a form that no server answers, or without what a HelloRetryRequest needs
	ActionBadRetry // of DTLS 1.3, with a wrong cookie: a second HelloRetryRequest is not allowed (RFC 8446 section 4.1.4)
)

// Versions is a set of DTLS versions that a server is protected for.
type Versions uint32

// The versions.
const (
	Serves12 Versions = 1 << iota // DTLS 1.2 and earlier
	Serves13
)

// reset makes a client prove its address to the guard and start over: its second attempt reaches the server from the
// first ClientHello on, whatever that server is.
type reset struct {
	mac      cookie.MAC
	verifier *cookie.Verifier // HMACSHA256: for a batch at a time
	gate     *addresses.Gate
	now      func() int64
	serves   Versions
	x        hello.Extensions
	numbers  []int // index of each hello in the verifier; -1: it needs no cookie
}

func newReset(c *Config, serves Versions, size int) *reset {
	return &reset{mac: c.MAC, verifier: c.Cookies.NewVerifier(size), gate: c.Gate, now: c.Now, serves: serves, numbers: make([]int, size)}
}

// Verify implements Verifier.
func (m *reset) Verify(k *cookie.Keyring, hellos []Hello) {
	now, serves := m.now(), m.serves
	m.verifier.Begin(k, len(hellos))
	for i := range hellos {
		h := &hellos[i]
		m.numbers[i] = -1
		if h.Action = m.classify(h, serves); h.Action > ActionRetry {
			continue
		}
		if len(h.Cookie) == 0 && m.admit(h, now) {
			continue
		}
		if m.mac == cookie.SipHash {
			m.verifyV2(k, h)
			continue
		}
		m.numbers[i] = m.verifier.Add(&h.Binding, h.Cookie)
	}
	m.verifier.Finish()
	for i := range hellos {
		h, n := &hellos[i], m.numbers[i]
		switch {
		case n < 0:
		case m.conclude(h, m.verifier.Valid(n)):
			m.verifier.Cookie(n, (*[cookie.Size]byte)(h.Answer[:]))
			h.Length = cookie.Size
		}
	}
}

// conclude sets the action for a ClientHello with a valid or invalid cookie, and reports whether it needs a new cookie.
func (m *reset) conclude(h *Hello, valid bool) bool {
	switch {
	case valid:
		h.Action = ActionReset
	case h.Action == ActionRetry && len(h.Cookie) > 0:
		h.Action = ActionBadRetry
	default:
		return true
	}
	return false
}

// verifyV2 decides on one with cookies of format v2, which are too cheap for batches to matter.
func (m *reset) verifyV2(k *cookie.Keyring, h *Hello) {
	if m.conclude(h, k.VerifyV2(&h.Binding, h.Cookie)) {
		c := k.Current().IssueV2(&h.Binding)
		h.Length = copy(h.Answer[:], c[:])
	}
}

// nullCompression is what DTLS 1.3 requires of compression methods (RFC 8446 section 4.1.2).
var nullCompression = []byte{0}

// classify returns how h is challenged, ActionVerify or ActionRetry, or another final action.
func (m *reset) classify(h *Hello, serves Versions) Action {
	h.Binding.Purpose = cookie.HelloVerify
	if serves&Serves13 == 0 {
		return ActionVerify
	}
	x := &m.x
	switch ok := h.ReadExtensions(x); {
	case !ok && serves&Serves12 == 0:
		return ActionNoRetry
	case !ok:
		return ActionVerify
	case x.Offers13():
	case x.Versions == nil && !h.Whole && serves&Serves12 == 0:
		// A fragment that ends before supported_versions, as Firefox's: assume the version that is served.
	default:
		return ActionVerify
	}
	if len(h.Cookie) > 0 || x.Methods != nil && !bytes.Equal(x.Methods, nullCompression) {
		return ActionNoRetry
	}
	h.Retry = hello.Retry{Suite: x.Suite13()}
	if h.Retry.Suite == 0 {
		return ActionNoRetry
	}
	h.Cookie, h.Binding.Purpose = x.Cookie, cookie.HelloRetry
	return ActionRetry
}

// admit decides on a first ClientHello, and reports whether the decision is final.
func (m *reset) admit(h *Hello, now int64) bool {
	return settle(h, m.gate.Admit(&h.Binding.Source, now))
}

// Challenge revokes the verification of h, which mode reset verified by its address alone: the client must prove that it
// can be reached now.
func (h *Hello) Challenge(k *cookie.Keyring, mac cookie.MAC) {
	h.Verified = false
	if mac == cookie.SipHash {
		c := k.Current().IssueV2(&h.Binding)
		h.Length = copy(h.Answer[:], c[:])
		return
	}
	c := k.Current().Issue(&h.Binding)
	h.Length = copy(h.Answer[:], c[:])
}

// settle does to h what the gate decided, and reports whether the decision is final.
func settle(h *Hello, o addresses.Outcome) bool {
	switch o {
	case addresses.Known:
		h.Verified = true
	case addresses.Unproved:
		h.Verified, h.Unproved = true, true
	case addresses.Denied:
		h.Action = ActionDenied
	default:
		return false
	}
	return true
}

// preHandshake implements preHandshaker.
func (*reset) preHandshake() relay.PreHandshake { return passing{} }

// limited passes first ClientHellos as far as the gate's rate allows. It proves nothing.
type limited struct {
	gate *addresses.Gate
	now  func() int64
}

// Verify implements Verifier. A ClientHello with a cookie belongs to a flow, or to none that the guard knows.
func (m *limited) Verify(_ *cookie.Keyring, hellos []Hello) {
	now := m.now()
	for i := range hellos {
		h := &hellos[i]
		if !settle(h, m.gate.Limit(&h.Binding.Source, now)) {
			h.Action = ActionLimited
		}
	}
}

// preHandshake implements preHandshaker.
func (*limited) preHandshake() relay.PreHandshake { return passing{} }

// passing is the pre-handshake of a flow whose server sees everything that the client sends: all its answers pass.
type passing struct{}

// Client implements relay.PreHandshake.
func (passing) Client(d []byte, out *udpbatch.Queue) { out.Add(d, nil) }

// Server implements relay.PreHandshake.
func (passing) Server([]byte) {}

// Verify implements relay.PreHandshake: a server may do a cookie exchange of its own.
func (passing) Verify([]byte, *udpbatch.Queue) relay.Verdict { return relay.Deliver }
