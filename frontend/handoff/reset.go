package handoff

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Action is what a ClientHello that is not verified gets.
type Action uint8

// The actions.
const (
	ActionVerify Action = iota // a HelloVerifyRequest
	ActionRetry                // a HelloRetryRequest
	ActionReset                // its cookie is right: its address is noted, and an alert has the client begin again

	// Those that get nothing.
	ActionDenied   // its address is on the deny list
	ActionLimited  // there are too many that have proved nothing
	ActionNoRetry  // of DTLS 1.3, and of a form that no server answers, or that cannot be answered
	ActionBadRetry // of DTLS 1.3, and with a wrong cookie: there is no second HelloRetryRequest (RFC 8446 section 4.1.4)
)

// Versions is which versions of DTLS a server is to be protected for, a set.
type Versions uint32

// The versions.
const (
	Serves12 Versions = 1 << iota // DTLS 1.2 and below
	Serves13
)

// reset has a client prove its address to the guard, and begin again: its second attempt reaches the server from the
// first ClientHello on, whatever that server is.
type reset struct {
	mac      cookie.MAC
	verifier *cookie.Verifier // HMACSHA256: all of a batch at once
	gate     *addresses.Gate
	now      func() int64
	serves   Versions
	x        hello.Extensions
	numbers  []int // of each hello in the verifier; -1: it needs no cookie
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

// conclude says what a ClientHello gets whose cookie is valid or not, and reports whether that is a fresh cookie.
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

// verifyV2 decides on one with cookies of format v2, which cost too little for batches to matter.
func (m *reset) verifyV2(k *cookie.Keyring, h *Hello) {
	if m.conclude(h, k.VerifyV2(&h.Binding, h.Cookie)) {
		c := k.Current().IssueV2(&h.Binding)
		h.Length = copy(h.Answer[:], c[:])
	}
}

// nullCompression is what DTLS 1.3 has for compression methods (RFC 8446 section 4.1.2).
var nullCompression = []byte{0}

// classify says how h is challenged: ActionVerify or ActionRetry, or with what else it ends.
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
		// A fragment that ends before supported_versions (Firefox's): its client is of the version that is served.
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

// admit decides on a first ClientHello, and reports whether that is all that is to be done.
func (m *reset) admit(h *Hello, now int64) bool {
	switch m.gate.Admit(&h.Binding.Source, now) {
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

// Challenge makes h, which mode reset has verified by its address alone, one that must prove that it can be reached
// just now.
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

// prelude implements preluding.
func (*reset) prelude() relay.Prelude { return passing{} }

// limited lets first ClientHellos pass as far as the gate has room for them. It proves nothing.
type limited struct {
	gate *addresses.Gate
	now  func() int64
}

// Verify implements Verifier. A ClientHello with a cookie is of a flow, or of none that the guard knows.
func (m *limited) Verify(_ *cookie.Keyring, hellos []Hello) {
	now := m.now()
	for i := range hellos {
		h := &hellos[i]
		switch m.gate.Limit(&h.Binding.Source, now) {
		case addresses.Known:
			h.Verified = true
		case addresses.Unproved:
			h.Verified, h.Unproved = true, true
		case addresses.Denied:
			h.Action = ActionDenied
		default:
			h.Action = ActionLimited
		}
	}
}

// prelude implements preluding.
func (*limited) prelude() relay.Prelude { return passing{} }

// passing is the way of a flow whose server has seen all that the client has sent: whatever it asks for, it gets.
type passing struct{}

// Client implements relay.Prelude.
func (passing) Client(d []byte, out *udpbatch.Queue) { out.Add(d, nil) }

// Server implements relay.Prelude.
func (passing) Server([]byte) {}

// Verify implements relay.Prelude: a server may have a cookie exchange of its own.
func (passing) Verify([]byte, *udpbatch.Queue) relay.Verdict { return relay.Deliver }
