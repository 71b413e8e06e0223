package frontend

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// inlineWatchEvery is how often a server that keeps its port is asked for a cookie: a dead one is noticed within two
// retransmissions of a client's ClientHello.
const inlineWatchEvery = 2 * time.Second

// inlineSilence is how long a server that was up may be silent: some ignore everybody else during a handshake.
const inlineSilence = 10 * time.Second

// askAnewEvery bounds how often clients can have a server asked for all that it takes: any client can have itself refused.
const askAnewEvery = 10 * time.Second

// health is the state of an inline server.
type health struct {
	up      bool
	why     error // why it is not
	heard   time.Time
	refused uint64    // handshakes that it had ended by an alert when it was last asked for all that it takes
	asked   time.Time // when that was
}

// doubted reports whether the server has refused clients since it was asked what it takes: it may take other suites by now, which
// the one question of each look does not show (illegal_parameter, RFC 9147 section 5.1).
func (h *health) doubted(refused uint64, now time.Time) bool {
	return refused > h.refused && now.Sub(h.asked) >= askAnewEvery
}

// watchInline finds out how the server accepts verified clients, and then checks whether it is alive, until ctx ends.
func (v *service) watchInline(ctx context.Context) {
	for ctx.Err() == nil {
		v.lookInline(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(inlineWatchEvery):
		}
	}
}

// lookInline looks at the server once.
func (v *service) lookInline(ctx context.Context) {
	was := v.inlineHealth()
	now := v.askInline(ctx, was)
	if v.listen.Addr() == netip.IPv6Unspecified() && handoff.NobodyListens(now.why) {
		v.askOverIPv6.Store(!v.askOverIPv6.Load()) // the next time
		if was.heard.IsZero() {                    // the server's address is still unknown
			now = v.askInline(ctx, was)
		}
	}
	if ctx.Err() != nil {
		return
	}
	v.health.Store(&now)
	switch {
	case was.up && !now.up:
		v.log.Error("server is down", "server", v.listen, "error", now.why)
		v.backendIs(v.listen.String(), false, now.why)
	case !was.up && now.up && !was.heard.IsZero():
		v.log.Info("server is up", "server", v.listen)
		v.backendIs(v.listen.String(), true, nil)
	case !now.up && (was.why == nil || was.why.Error() != now.why.Error()):
		v.log.Error("server cannot be used", "server", v.listen, "error", now.why)
		v.backendIs(v.listen.String(), false, now.why)
	}
}

// askInline asks the server once, and finds out how it accepts verified clients if that is not known.
func (v *service) askInline(ctx context.Context, was health) (now health) {
	s := v.now.Load()
	refused := v.refusedHellos(s)
	if s.fit == nil || !was.up || was.doubted(refused, time.Now()) || !v.mintsRight(ctx, s) {
		fit, err := v.fitInline(ctx, s)
		now = health{up: err == nil, why: err, heard: time.Now(), refused: refused, asked: time.Now()}
		if err == nil && !s.fit.Same(&fit) {
			v.change(func(s *serving) { s.fit = &fit })
			v.askForSuites(ctx, fit.PSK)
			v.log.Info("serving", "handoff", fit.Mode.String(), "why", fit.Why)
		} else if err == nil && s.fit.PSK != nil {
			s.fit.PSK.Forget() // there was a reason to probe again
		}
	} else {
		err := handoff.Ask(ctx, v.probeAddress())
		now = health{up: true, heard: time.Now(), refused: was.refused, asked: was.asked}
		if err != nil {
			now.heard = was.heard
			now.up = !handoff.NobodyListens(err) && time.Since(was.heard) < inlineSilence
			now.why = err
		}
	}
	return now
}

// refusedHellos is how many handshakes the server has ended by an alert, if workers make its HelloRetryRequests; else 0.
func (v *service) refusedHellos(s *serving) uint64 {
	if s.fit == nil || s.fit.Retries == nil || v.kernel == nil {
		return 0
	}
	c, err := v.kernel.guard.ServiceCounters(v.key())
	if err != nil { // it is not protected yet, or no more
		return 0
	}
	return c.Egress[bpf.EgressRefused]
}

// mintsRight reports whether the server's HelloRetryRequests equal those that workers make for it, if they make any.
func (v *service) mintsRight(ctx context.Context, s *serving) bool {
	r := s.fit.Retries
	return r == nil || s.fit.Mode != handoff.NativeWolfSSL || handoff.MintsRight(ctx, v.probeAddress(), s.keys.Load(), r)
}

// askForSuites starts asking the server about clients' pre-shared keys, and stops asking about the previous profile's.
func (v *service) askForSuites(ctx context.Context, p *handoff.PSKSuites) {
	if v.stopAsking != nil {
		v.stopAsking()
		v.stopAsking = nil
	}
	if p == nil {
		return
	}
	ctx, v.stopAsking = context.WithCancel(ctx)
	v.running.Go(func() {
		if err := p.Run(ctx, v.probeAddress()); err != nil {
			v.log.Warn("the server cannot be asked for the suites of pre-shared keys: clients with one are answered as those without", "error", err)
		}
	})
}

func (v *service) inlineHealth() health {
	if h := v.health.Load(); h != nil {
		return *h
	}
	return health{}
}

// probeAddress returns where to ask the server: a wildcard stands for every address of this host. A server on the wildcard of IPv6
// may have that alone.
func (v *service) probeAddress() netip.AddrPort {
	switch a := v.listen.Addr(); {
	case a == netip.IPv6Unspecified() && v.askOverIPv6.Load():
		return netip.AddrPortFrom(netip.IPv6Loopback(), v.port)
	case a == netip.IPv4Unspecified(), a == netip.IPv6Unspecified():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), v.port)
	}
	return v.listen
}

// fitInline finds out how the server accepts verified clients.
func (v *service) fitInline(ctx context.Context, s *serving) (handoff.Fit, error) {
	asked := s.settings.Handoff
	if asked == handoff.Trust {
		asked = handoff.Auto // Auto reports if the server does not
	}
	var shared *cookie.Keyring
	if s.settings.SecretFile != "" {
		shared = s.keys.Load()
	}
	if asked.Passes() && asked != handoff.Reset {
		return handoff.Fit{Mode: asked}, handoff.Ask(ctx, v.probeAddress())
	}
	fit, err := handoff.ProbeInline(ctx, v.probeAddress(), asked, shared, s.settings.PSKSuite)
	if len(v.config.TrustTCP) > 0 && errors.Is(err, handoff.ErrNoAnswer) && !handoff.NobodyListens(err) {
		// A VPN gateway is silent to clients that it does not know from its TCP port.
		fit, err = handoff.Fit{Mode: handoff.Reset, Serves: handoff.Serves12, Why: "the server is silent, as to everybody who has no TCP connection"}, nil
	}
	if s.settings.Monitor {
		return fit, err // nothing is enforced, so no client is handed over
	}
	if err == nil && asked != s.settings.Handoff && fit.Mode != handoff.Trust {
		return fit, hint.Errorf("let its cookie-verify callback accept every cookie (reachable only through dtlsguard), or choose another hand-off: auto says what fits",
			"server %v refuses cookies that are not its own", v.listen)
	}
	return fit, err
}
