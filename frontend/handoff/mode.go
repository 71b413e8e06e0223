package handoff

import (
	"fmt"
	"strings"

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
	Place    Place                      // whom the server must see in a verified client's place
	Answer   [hello.MaxRetryCookie]byte // the cookie to send to one that is not verified
	Length   int                        // of Answer; 0: there is none to send now
	Action   Action                     // for one that is not verified
	Retry    hello.Retry                // for ActionRetry, but for the cookie
	Unproved bool                       // verified by nothing but its rate
}

// Verifier issues and verifies cookies as a mode has it.
type Verifier interface {
	// Verify fills in the verdict of each hello. k is not nil.
	Verify(k *cookie.Keyring, hellos []Hello)
}

// Mode is a way to hand clients over, as in --handoff.
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
	modeLen
)

// Cookies are a mode's, as far as others than workers can issue and verify them.
type Cookies uint8

// Kinds of cookies.
const (
	CookiesOfWorkers Cookies = iota // nobody else can
	CookiesOwn                      // the guard's own, of the format that --cookie-mac says
	CookiesV1                       // the guard's own of format v1 always: the server computes it, too, or nobody sees it
	CookiesQt                       // Qt's
	CookiesHarvested                // the server's, in the table of a pool
)

// modes is all that differs between modes, by number. A new mode is a row here and a file with what it needs.
var modes = [modeLen]struct {
	name     string
	native   bool    // the server computes the cookies itself, from a secret that it shares with the guard
	pool     bool    // harvests the cookies of a pool
	inline   bool    // works in front of a server that keeps its port
	passes   bool    // clients reach the server with their first ClientHello: its state begins with it, and it need not know of cookies
	twoRound bool    // a client has a second cookie, that the guard does not know, after its first
	proxy    Cookies // what a proxy gives clients
	direct   Cookies // what they are given inline
	verifier func(d *deal, size int) Verifier
	why      func(p *Profile) string
}{
	Auto:          {name: "auto", inline: true},
	Harvest:       {name: "harvest", pool: true, proxy: CookiesHarvested, verifier: (*deal).harvest, why: (*Profile).whyHarvest},
	Trust:         {name: "trust", inline: true, proxy: CookiesOwn, direct: CookiesOwn, verifier: (*deal).own, why: because("the server accepts any cookie")},
	NativeHMAC:    {name: "native-hmac", native: true, inline: true, direct: CookiesV1, verifier: (*deal).native, why: (*Profile).whyNative},
	NativeQt:      {name: "native-qt", native: true, inline: true, direct: CookiesQt, verifier: (*deal).native, why: (*Profile).whyNative},
	NativeWolfSSL: {name: "native-wolfssl", native: true, inline: true, verifier: (*deal).native, why: (*Profile).whyNative},
	NativeGnuTLS:  {name: "native-gnutls", native: true, inline: true, verifier: (*deal).native, why: (*Profile).whyNative},
	Replay: {name: "replay", proxy: CookiesOwn, verifier: func(d *deal, size int) Verifier { return replay{d.own(size)} },
		why: because("the server accepts any cookie, once it has seen a ClientHello without one")},
	DoubleHVR: {name: "double-hvr", twoRound: true, proxy: CookiesOwn, verifier: func(d *deal, size int) Verifier { return doubleHVR{d.own(size)} },
		why: func(p *Profile) string { return p.unharvestable() + "; it takes a second cookie exchange" }},
	Reset: {name: "reset", passes: true, inline: true, proxy: CookiesOwn, direct: CookiesOwn, verifier: (*deal).reset, why: (*Profile).whyReset},
	Limit: {name: "limit", passes: true, inline: true, proxy: CookiesV1, direct: CookiesV1, verifier: func(d *deal, _ int) Verifier { return &limited{d.Gate, d.Now} },
		why: because("asked for; nobody proves anything: the rate bounds what a flood costs the server")},
}

func because(why string) func(*Profile) string { return func(*Profile) string { return why } }

// String is the name as given to --handoff.
func (m Mode) String() string { return modes[m].name }

// MarshalText writes the name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads it.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// Native reports whether the cookies are those that the server itself computes, from a secret that it shares with
// the guard.
func (m Mode) Native() bool { return modes[m].native }

// Inline reports whether the mode works in front of a server that keeps its port.
func (m Mode) Inline() bool { return modes[m].inline }

// NeedsPool reports whether a proxy maps the mode's clients to a pool of cookies that is harvested.
func (m Mode) NeedsPool() bool { return modes[m].pool }

// Passes reports whether clients reach the server with their first ClientHello.
func (m Mode) Passes() bool { return modes[m].passes }

// TwoRound reports whether a verified client's next ClientHello may carry a cookie of the server's.
func (m Mode) TwoRound() bool { return modes[m].twoRound }

// Cookies are those that the mode gives clients, in a proxy or inline; mapped says that the server sees v4-mapped addresses.
func (m Mode) Cookies(inline, mapped bool) Cookies {
	switch {
	case !inline:
		return modes[m].proxy
	case m == NativeQt && mapped:
		return CookiesOfWorkers
	}
	return modes[m].direct
}

// Names are those of all modes, auto first.
func Names() (list []string) {
	for _, m := range modes {
		list = append(list, m.name)
	}
	return list
}

// ParseMode reads the name of a mode.
func ParseMode(s string) (Mode, error) {
	for m := range modes {
		if s == modes[m].name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("no hand-off mode is called %q: there are %s", s, strings.Join(Names(), ", "))
}

// deal is what a verifier is made of.
type deal struct {
	*Config
	mode    Mode
	mapped  bool // native modes: the server sees v4-mapped addresses
	serves  Versions
	retries *Retries // native-wolfssl of DTLS 1.3
	psk     *PSKSuites
	pool    *Pool // nil inline, and where none is needed
}

func (d *deal) own(size int) Verifier { return newOwn(d.MAC, d.Cookies, size) }
func (d *deal) harvest(int) Verifier  { return newHarvest(d.pool) }

func (d *deal) reset(size int) Verifier { return newReset(d.Config, d.serves, size) }

func (d *deal) native(size int) Verifier {
	if d.mode == NativeHMAC && d.pool == nil {
		return NewTrust(d.Cookies, size)
	}
	f := newFormula(d.mode, d.Server, d.Cookies, size*perHello)
	if d.retries != nil && d.mode == NativeWolfSSL {
		f = newWolfSSL13(d.retries, d.psk, d.serves)
	}
	return newNative(f, d.mapped, d.pool, size)
}

// preluding is a Verifier whose flows begin with a prelude.
type preluding interface{ prelude() relay.Prelude }

// PreludeOf makes the prelude of a flow for a client that v has just verified; nil if it needs none.
func PreludeOf(v Verifier) relay.Prelude {
	if p, ok := v.(preluding); ok {
		return p.prelude()
	}
	return nil
}

// following is a worker's Verifier: of the mode that the server needs at the moment.
type following struct {
	backend  *Backend
	size     int
	decision *decision
	Verifier // of decision
}

// NewVerifier makes a worker's own Verifier, for batches of at most size hellos. It allocates only when the back end needs
// another mode or pool than before.
func (b *Backend) NewVerifier(size int) Verifier {
	f := &following{backend: b, size: size}
	f.follow()
	return f
}

func (f *following) follow() {
	if d := f.backend.decision.Load(); d != f.decision {
		f.decision, f.Verifier = d, f.backend.verifier(d, f.size)
	}
}

// Verify implements Verifier.
func (f *following) Verify(k *cookie.Keyring, hellos []Hello) {
	if len(hellos) > 0 {
		f.follow()
		f.Verifier.Verify(k, hellos)
	}
}

func (f *following) prelude() relay.Prelude { return PreludeOf(f.Verifier) }

// NewInline makes the verifier for a server that the guard protects inline, for batches of at most size hellos: such a
// server sees the clients' own addresses. Of c it needs what cookies and gates are made of.
func NewInline(fit Fit, c Config, size int) Verifier {
	d := &deal{Config: &c, mode: fit.Mode, mapped: fit.Mapped, serves: fit.Serves, retries: fit.Retries, psk: fit.PSK}
	if !fit.Mode.Inline() {
		return d.own(size)
	}
	return modes[fit.Mode].verifier(d, size)
}
