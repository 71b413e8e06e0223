package handoff

import (
	"fmt"
	"net/netip"
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

	// What Judge finds.
	Verified bool
	Port     *relay.Port           // the port a verified client must take; nil: a new one
	Answer   [hello.MaxCookie]byte // the cookie to send to one that is not verified
	Length   int                   // of Answer; 0: there is none to send now
}

// Mode is a way to hand clients over.
type Mode interface {
	// Judge fills in the verdict of each hello. k is not nil.
	Judge(k *cookie.Keyring, hellos []Hello)
}

// Kind names a mode, as in --handoff.
type Kind uint8

// The modes there are. Auto becomes one of the others when a server is probed.
const (
	Auto Kind = iota
	Harvest
	Trust
	NativeHMAC
	NativeQt
	NativeWolfSSL
	NativeGnuTLS
	Replay
	DoubleHVR
	kindLen
)

var kindNames = [kindLen]string{"auto", "harvest", "trust", "native-hmac", "native-qt", "native-wolfssl", "native-gnutls", "replay", "double-hvr"}

// String is the name as given to --handoff.
func (k Kind) String() string { return kindNames[k] }

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Native reports whether the cookies are those that the server itself computes, from a secret that it shares with
// the guard.
func (k Kind) Native() bool {
	switch k {
	case NativeHMAC, NativeQt, NativeWolfSSL, NativeGnuTLS:
		return true
	}
	return false
}

// Names are those of all modes, auto first.
func Names() []string { return kindNames[:] }

// ParseKind reads the name of a mode.
func ParseKind(s string) (Kind, error) {
	for k, name := range kindNames {
		if s == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("no hand-off mode is called %q: there are %s", s, strings.Join(kindNames[:], ", "))
}

// OwnCookies reports whether the mode's cookies are the guard's own, over the client's address, and all that a client
// needs of it, so that others than workers can issue and verify them.
func (k Kind) OwnCookies(inline bool) bool {
	return k == Trust || k == Replay || inline && k == NativeHMAC
}

// preluding is a Mode whose flows begin with a prelude.
type preluding interface{ prelude() relay.Prelude }

// PreludeOf makes the prelude of a flow for a client that m has just verified; nil if it needs none.
func PreludeOf(m Mode) relay.Prelude {
	if p, ok := m.(preluding); ok {
		return p.prelude()
	}
	return nil
}

// switching is a worker's Mode: the one that the server needs at the moment.
type switching struct {
	backend *Backend
	modes   [kindLen]Mode
	judged  Mode // that judged last
}

// Mode makes a worker's own Mode, for batches of at most size hellos.
func (b *Backend) Mode(size int) Mode {
	s := &switching{backend: b}
	own := NewTrust(b.config.Cookies, size)
	s.modes[Trust] = own
	s.modes[Replay] = replay{own}
	s.modes[DoubleHVR] = doubleHVR{own}
	s.modes[Harvest] = newHarvest(b.pool)
	for k := range kindLen {
		if k.Native() {
			f := newFormula(k, b.config.Server, b.config.Cookies, size*perHello)
			s.modes[k] = newNative(f, &b.mapped, b.pool, size)
		}
	}
	return s
}

// NewInline makes the mode for a server that the guard protects inline, for batches of at most size hellos: such a
// server sees the clients' own addresses.
func NewInline(fit Fit, server netip.AddrPort, p *cookie.Plan, size int) Mode {
	if !fit.Kind.Native() || fit.Kind == NativeHMAC {
		return NewTrust(p, size)
	}
	mapped := new(atomic.Bool)
	mapped.Store(fit.Mapped)
	return newNative(newFormula(fit.Kind, server, p, size), mapped, nil, size)
}

// Judge implements Mode.
func (s *switching) Judge(k *cookie.Keyring, hellos []Hello) {
	if len(hellos) > 0 {
		s.judged = s.modes[s.backend.Kind()]
		s.judged.Judge(k, hellos)
	}
}

func (s *switching) prelude() relay.Prelude { return PreludeOf(s.judged) }
