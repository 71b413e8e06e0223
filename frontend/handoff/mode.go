package handoff

import (
	"fmt"
	"strings"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Hello is a ClientHello of a batch, before and after verification.
type Hello struct {
	hello.ClientHello
	Binding cookie.Binding

	// Results of Verify.
	Verified bool
	Place    Place                      // the address that the server must see instead of the client's, if verified
	Answer   [hello.MaxRetryCookie]byte // the cookie to offer if not verified
	Length   int                        // of Answer; 0: no cookie is available now
	Action   Action                     // if not verified
	Retry    hello.Retry                // for ActionRetry, without the cookie
	Unproved bool                       // admitted by the rate alone
}

// Verifier issues and verifies the cookies of a mode.
type Verifier interface {
	// Verify sets the results of each hello. k must not be nil.
	Verify(k *cookie.Keyring, hellos []Hello)
}

// Mode is a way to hand clients over, a value of setting handoff.
type Mode uint8

// The modes. Probing replaces Auto by one of the others.
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

// Cookies are the kind of a mode's cookies, which decides who besides workers can issue and verify them.
type Cookies uint8

// Kinds of cookies.
const (
	CookiesOfWorkers Cookies = iota // only workers have them
	CookiesOwn                      // the guard's own, in the format of setting cookie-mac
	CookiesV1                       // the guard's own, always of format v1: the server computes it too, or nobody sees it
	CookiesQt                       // Qt's
	CookiesHarvested                // the server's, from the table of a pool
)

// modes has all differences between modes. A new mode is a row here and a file with its Verifier.
var modes = [modeLen]struct {
	name     string
	native   bool    // the server computes the cookies itself, from a secret that it shares with the guard
	pool     bool    // harvests the cookies of a pool
	inline   bool    // works before a server that keeps its port
	passes   bool    // the first ClientHello of a client reaches the server, which need not know cookies
	twoRound bool    // after its first cookie a client gets a second one, which the guard does not know
	proxy    Cookies // cookies that a proxy issues
	direct   Cookies // ... and those issued inline
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

// String is the name as in setting handoff.
func (m Mode) String() string { return modes[m].name }

// MarshalText returns the name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText parses the name.
func (m *Mode) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMode(string(text))
	return err
}

// Native reports whether the server computes the cookies itself, from a secret that it shares with the guard.
func (m Mode) Native() bool { return modes[m].native }

// Inline reports whether the mode works before a server that keeps its port.
func (m Mode) Inline() bool { return modes[m].inline }

// NeedsPool reports whether a proxy maps the mode's clients to a pool of harvested cookies.
func (m Mode) NeedsPool() bool { return modes[m].pool }

// Passes reports whether the first ClientHello of a client reaches the server.
func (m Mode) Passes() bool { return modes[m].passes }

// TwoRound reports whether a verified client's next ClientHello may carry a cookie of the server.
func (m Mode) TwoRound() bool { return modes[m].twoRound }

// Cookies returns the kind of cookies that the mode issues, in a proxy or inline; mapped: the server sees v4-mapped
// addresses.
func (m Mode) Cookies(inline, mapped bool) Cookies {
	switch {
	case !inline:
		return modes[m].proxy
	case m == NativeQt && mapped:
		return CookiesOfWorkers
	}
	return modes[m].direct
}

// Names returns the names of all modes, auto first.
func Names() (list []string) {
	for _, m := range modes {
		list = append(list, m.name)
	}
	return list
}

// ParseMode parses the name of a mode.
func ParseMode(s string) (Mode, error) {
	for m := range modes {
		if s == modes[m].name {
			return Mode(m), nil
		}
	}
	return 0, fmt.Errorf("no hand-off mode is called %q: there are %s", s, strings.Join(Names(), ", "))
}

// deal is the input of a verifier's constructor.
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

// preHandshaker is a Verifier whose flows start with a pre-handshake.
type preHandshaker interface{ preHandshake() relay.PreHandshake }

// PreHandshakeOf makes the pre-handshake of a flow for a client that v has just verified; nil if it needs none.
func PreHandshakeOf(v Verifier) relay.PreHandshake {
	if p, ok := v.(preHandshaker); ok {
		return p.preHandshake()
	}
	return nil
}

// following is a worker's Verifier, of the mode in force.
type following struct {
	backend  *Backend
	size     int
	decision *decision
	Verifier // of decision
}

// NewVerifier makes a worker's own Verifier, for batches of at most size hellos. It allocates only when the mode or the
// pool of the back end changes.
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

func (f *following) preHandshake() relay.PreHandshake { return PreHandshakeOf(f.Verifier) }

// NewInline makes the verifier for a server that the guard protects inline, which sees the clients' own addresses, for
// batches of at most size hellos. Of c it uses the settings of cookies and gates.
func NewInline(fit Fit, c Config, size int) Verifier {
	d := &deal{Config: &c, mode: fit.Mode, mapped: fit.Mapped, serves: fit.Serves, retries: fit.Retries, psk: fit.PSK}
	if !fit.Mode.Inline() {
		return d.own(size)
	}
	return modes[fit.Mode].verifier(d, size)
}
