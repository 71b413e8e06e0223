package handoff

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Fit is how clients can be handed to a server.
type Fit struct {
	Mode    Mode
	Mapped  bool // native modes: the server sees IPv4 clients as v4-mapped addresses
	Serves  Versions
	Retries *Retries   // native-wolfssl of DTLS 1.3
	PSK     *PSKSuites // ... whose Run the caller must call; nil without Retries
	Why     string
}

// Same reports whether f, which may be nil, equals fit apart from what was learned of pre-shared keys since.
func (f *Fit) Same(fit *Fit) bool {
	if f == nil || f.Mode != fit.Mode || f.Mapped != fit.Mapped || f.Serves != fit.Serves || f.Why != fit.Why {
		return false
	}
	if a, b := f.Retries, fit.Retries; a != nil && b != nil {
		return slices.Equal(a.Suites, b.Suites) && a.Client == b.Client && slices.Equal(a.Groups, b.Groups) && a.Echo == b.Echo
	}
	return f.Retries == fit.Retries
}

// ProbeInline finds the mode for a server that keeps its port and sees the clients' own addresses. Its cookies cannot be
// harvested, so it must accept the guard's, or share a secret with it. asked is the mode asked for, Auto or native. psk is
// Config's. Errors have a hint.
func ProbeInline(ctx context.Context, server netip.AddrPort, asked Mode, ring *cookie.Keyring, psk Suite) (Fit, error) {
	p, err := probeOnce(ctx, server, ring)
	var mode Mode
	if err == nil {
		mode, err = p.choose(asked, ring)
	}
	if asked == Auto && err == nil && !mode.Inline() {
		mode = Reset // inline nothing stands between client and server
	}
	if err != nil {
		return Fit{}, fmt.Errorf("server %v: %w", server, err)
	}
	fit := Fit{Mode: mode, Mapped: p.Native != nil && p.Native.Mapped, Serves: p.serves(), Retries: p.Retries, Why: modes[mode].why(&p)}
	if mode == NativeWolfSSL && fit.Retries != nil {
		fit.PSK = NewPSKSuites(psk)
	}
	return fit, nil
}

// ErrNoMode reports that a server answers, but no mode can hand clients to it.
var ErrNoMode = errors.New("no hand-off mode fits")

// Probe probes a server and returns its profile, the mode that fits and why. ring has secrets that may be shared with the
// server, nil if there are none.
func Probe(ctx context.Context, server netip.AddrPort, ring *cookie.Keyring) (p Profile, m Mode, why string, err error) {
	if p, err = probeOnce(ctx, server, ring); err != nil {
		return p, Auto, "", err
	}
	m = p.mode()
	return p, m, modes[m].why(&p), nil
}

func probeOnce(ctx context.Context, server netip.AddrPort, ring *cookie.Keyring) (Profile, error) {
	p, err := newProber(server)
	if err != nil {
		return Profile{}, err
	}
	defer p.close()
	p.ring = ring
	began := time.Now()
	t, err := p.probe(ctx, patience)
	switch {
	case ctx.Err() != nil:
		err = hint.Errorf("let it take its time: a server that is silent is asked for some 10 s", "ask for a cookie: %w within %v", ErrNoAnswer, time.Since(began).Round(time.Second/10))
	case err != nil:
		err = noAnswer(err)
	}
	return t, err
}

// noAnswer says of a server that has been asked as long as patience, or that nothing listens at, what to do.
func noAnswer(err error) error {
	const fix = "start the server before dtlsguard, and make sure that it speaks DTLS 1.2 there"
	if errors.Is(err, errNotDTLS) {
		return hint.Errorf("check address and port: another program may have them, or the server does not speak DTLS 1.2 or 1.3 there", "ask for a cookie: %w", err)
	}
	if NobodyListens(err) {
		return hint.Errorf(fix, "ask for a cookie: %w", err)
	}
	return hint.Errorf(fix, "ask for a cookie: %w within %v", err, patience)
}
