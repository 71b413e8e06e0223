package handoff

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Hello is a ClientHello of a batch, on its way to a verdict.
type Hello struct {
	hello.ClientHello
	Binding cookie.Binding

	// What Verify finds.
	Verified bool
	Port     *relay.Upstream            // the port a verified client must take; nil: a new one
	Answer   [hello.MaxRetryCookie]byte // the cookie to send to one that is not verified
	Length   int                        // of Answer; 0: there is none to send now
	Action   Action                     // for one that is not verified
	Retry    hello.Retry                // for ActionRetry, but for the cookie
	Unproved bool                       // verified by nothing but its rate
}

// Verifier is a way to hand clients over.
type Verifier interface {
	// Verify fills in the verdict of each hello. k is not nil.
	Verify(k *cookie.Keyring, hellos []Hello)
}

// Mode names a mode, as in --handoff.
type Mode uint8

// The modes there are. Auto becomes one of the others when a server is probed.
const (
	Auto Mode = iota
	Harvest
	Trust
	NativeHMAC
	NativeQt
	NativeWolfSSL
	NativeGnuTLS
	Replay
	DoubleHVR
	Reset
	Limit
	kindLen
)

var kindNames = [kindLen]string{"auto", "harvest", "trust", "native-hmac", "native-qt", "native-wolfssl", "native-gnutls", "replay", "double-hvr", "reset", "limit"}

// String is the name as given to --handoff.
func (k Mode) String() string { return kindNames[k] }

// MarshalText writes the name.
func (k Mode) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Native reports whether the cookies are those that the server itself computes, from a secret that it shares with
// the guard.
func (k Mode) Native() bool {
	switch k {
	case NativeHMAC, NativeQt, NativeWolfSSL, NativeGnuTLS:
		return true
	}
	return false
}

// Names are those of all modes, auto first.
func Names() []string { return kindNames[:] }

// ParseMode reads the name of a mode.
func ParseMode(s string) (Mode, error) {
	for k, name := range kindNames {
		if s == name {
			return Mode(k), nil
		}
	}
	return 0, fmt.Errorf("no hand-off mode is called %q: there are %s", s, strings.Join(kindNames[:], ", "))
}

// Passes reports whether clients reach the server with their first ClientHello: then the server's state begins with it,
// and it need not know of cookies.
func (k Mode) Passes() bool { return k == Reset || k == Limit }

// preluding is a Verifier whose flows begin with a prelude.
type preluding interface{ prelude() relay.Prelude }

// PreludeOf makes the prelude of a flow for a client that m has just verified; nil if it needs none.
func PreludeOf(m Verifier) relay.Prelude {
	if p, ok := m.(preluding); ok {
		return p.prelude()
	}
	return nil
}

// switching is a worker's Verifier: the one that the server needs at the moment.
type switching struct {
	backend *Backend
	modes   [kindLen]Verifier
	judged  Verifier // that judged last
}

// NewVerifier makes a worker's own Verifier, for batches of at most size hellos.
func (b *Backend) NewVerifier(size int) Verifier {
	s := &switching{backend: b}
	own := newOwn(b.config.MAC, b.config.Cookies, size)
	s.modes[Trust] = own
	s.modes[Replay] = replay{own}
	s.modes[DoubleHVR] = doubleHVR{own}
	s.modes[Harvest] = newHarvest(b.pool)
	s.modes[Reset] = newReset(b.config.Cookies, b.config.Gate, b.config.Now, &b.serves, size)
	s.modes[Limit] = &limited{b.config.Gate, b.config.Now}
	for k := range kindLen {
		if k.Native() {
			f := newFormula(k, b.config.Server, b.config.Cookies, size*perHello)
			s.modes[k] = newNative(f, &b.mapped, b.pool, size)
		}
	}
	return s
}

// NewInline makes the mode for a server that the guard protects inline, for batches of at most size hellos: such a
// server sees the clients' own addresses. Of c it needs what cookies and gates are made of.
func NewInline(fit Fit, c Config, size int) Verifier {
	switch {
	case fit.Mode == Reset:
		serves := new(sharedVersions)
		serves.store(fit.Serves)
		return newReset(c.Cookies, c.Gate, c.Now, serves, size)
	case fit.Mode == Limit:
		return &limited{c.Gate, c.Now}
	case !fit.Mode.Native():
		return newOwn(c.MAC, c.Cookies, size)
	case fit.Mode == NativeHMAC:
		return NewTrust(c.Cookies, size)
	}
	mapped := new(atomic.Bool)
	mapped.Store(fit.Mapped)
	return newNative(newFormula(fit.Mode, c.Server, c.Cookies, size), mapped, nil, size)
}

// Verify implements Verifier.
func (s *switching) Verify(k *cookie.Keyring, hellos []Hello) {
	if len(hellos) > 0 {
		s.judged = s.modes[s.backend.Mode()]
		s.judged.Verify(k, hellos)
	}
}

func (s *switching) prelude() relay.Prelude { return PreludeOf(s.judged) }
