package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// patience is for a server that is just starting.
const patience = 3 * time.Second

// Config of a Backend.
type Config struct {
	Server  netip.AddrPort
	Mode    Mode
	Pool    int                      // cookies to harvest, at least; 0: as many as are right for the server
	Rate    float64                  // questions per second while harvesting; 0: DefaultHarvestRate
	Table   func(n int) Table        // makes memory for a pool of n entries, which it does not give back; nil: NewTable
	MAC     cookie.MAC               // of the guard's own cookies
	Cookies *cookie.Plan             // nil: the fastest
	Keys    func() *cookie.Keyring   // of the secrets that the guard shares with the server; nil: it shares none
	PSK     Suite                    // native-wolfssl: of all pre-shared keys of DTLS 1.3; 0: the server is asked
	Gate    *addresses.Gate          // of modes reset and limit; nil: one that knows nobody
	Now     func() int64             // its clock, in nanoseconds; nil: of this process
	Changed func(up bool, why error) // called when the server goes down, and when it is up again; nil: nobody cares
	Log     *slog.Logger
}

// decision is what the guard does about a server, and what it knows of it. Immutable: another one takes its place.
type decision struct {
	mode    Mode
	profile *Profile
	pool    *Pool // nil: the mode needs none
}

// mapped: the server sees v4-mapped addresses.
func (d *decision) mapped() bool { return d.profile.Native != nil && d.profile.Native.Mapped }

// Backend is a server and what is known of it.
type Backend struct {
	config   Config
	decision atomic.Pointer[decision]
	up       atomic.Bool
	serves   atomic.Bool // harvest: enough cookies are known
	harvests atomic.Uint64
	reports  reports
	psk      *PSKSuites
	watched
}

// Status of a back end, for people and metrics.
type Status struct {
	Server     string   `json:"server"`
	Handoff    string   `json:"handoff"`
	Why        string   `json:"why"`
	Up         bool     `json:"up"`
	Ready      bool     `json:"ready"`
	Pool       int      `json:"pool"` // entries of the pool that is harvested
	Known      int      `json:"cookies_known"`
	Harvesting bool     `json:"harvesting"` // more are being asked for
	Harvests   uint64   `json:"harvests"`
	Refresh    float64  `json:"cookies_refreshed_every_seconds,omitempty"` // of a server whose cookies end with time
	Profile    *Profile `json:"profile"`
}

// Open probes the server, picks the mode, and begins to harvest, until clients can be served. It fails if the server does not
// answer, or if no mode (or not the one that was asked for) fits it; the error says what to do.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if c.Cookies == nil {
		c.Cookies = cookie.Measured()
	}
	if c.Table == nil {
		c.Table = NewTable
	}
	if c.Rate == 0 {
		c.Rate = DefaultHarvestRate
	}
	if c.Gate == nil {
		c.Gate = addresses.NewGate(addresses.NewSet([2]uint64{0}, 0), new(atomic.Pointer[addresses.Table]), addresses.Policy{})
	}
	if c.Now == nil {
		started := time.Now()
		c.Now = func() int64 { return int64(time.Since(started)) }
	}
	b := &Backend{config: c, psk: NewPSKSuites(c.PSK)}
	b.reports.suspect = make(chan struct{}, 1)
	if err := b.open(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("back end %v: %w", c.Server, err)
	}
	return b, nil
}

func (b *Backend) open(ctx context.Context) error {
	var err error
	if b.prober, err = newProber(b.config.Server); err != nil {
		return err
	}
	if b.canary, err = b.prober.dial(netip.AddrPort{}); err != nil {
		return err
	}
	if err := b.choose(ctx); err != nil {
		return err
	}
	b.up.Store(true) // it has just answered; the watch says what changes
	b.look(ctx, serving(time.Now().Add(openFor)))
	return ctx.Err()
}

// openFor is how long Open harvests at most; Run goes on.
const openFor = 10 * time.Second

// choose probes and decides.
func (b *Backend) choose(ctx context.Context) error {
	if b.config.Keys != nil {
		b.prober.ring = b.config.Keys()
	}
	p, err := b.prober.probe(ctx, patience)
	b.probed = time.Now()
	if err != nil {
		return noAnswer(err)
	}
	mode, err := p.choose(b.config.Mode, b.prober.ring)
	if err == nil && mode == Harvest && p.Pending && b.config.Pool > pendingMost {
		err = &Misfit{"it keeps an unfinished handshake for each harvested cookie, each some 65 KB in coturn 4.6",
			fmt.Sprintf("setting harvest-pool %d, or what it can keep, %d at most", pendingPool, pendingMost)}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoMode, err)
	}
	return b.decide(mode, &p)
}

// decide puts a mode and a profile in force, with a pool if they need one: the old one, if it is of the same kind.
func (b *Backend) decide(mode Mode, p *Profile) error {
	d, old := &decision{mode: mode, profile: p}, b.pool()
	if mode.NeedsPool() || mode.Native() {
		if old.fits(mode, p) {
			d.pool = old
		} else {
			var err error
			if d.pool, err = newPool(b.config.Server, p, mode, b.config.Pool, (&hello.Probe{}).Append(nil), b.memory); err != nil {
				return err
			}
			d.pool.rate = b.config.Rate
		}
	}
	if was := b.decision.Load(); was == nil || !reflect.DeepEqual(was.profile.Retries, p.Retries) {
		b.psk.forget()
	}
	b.decision.Store(d)
	if old != nil && old != d.pool {
		b.retire(old)
	}
	return nil
}

// verifier makes the verifier of a decision.
func (b *Backend) verifier(d *decision, size int) Verifier {
	return modes[d.mode].verifier(&deal{Config: &b.config, mode: d.mode, mapped: d.mapped(), serves: d.profile.serves(), retries: d.profile.Retries, psk: b.psk, pool: d.pool}, size)
}

// pool is the one in force; nil if there is none.
func (b *Backend) pool() *Pool {
	if d := b.decision.Load(); d != nil {
		return d.pool
	}
	return nil
}

// profile is what is known of the server.
func (b *Backend) profile() *Profile { return b.decision.Load().profile }

// Mode is the mode that the server needs at the moment.
func (b *Backend) Mode() Mode { return b.decision.Load().mode }

// Serves is which versions of DTLS its clients may have.
func (b *Backend) Serves() Versions { return b.profile().serves() }

// CookieLength is that of the server's own cookies, in bytes.
func (b *Backend) CookieLength() int { return b.profile().CookieLength }

// Entries is the number of entries that handshakes are mapped to, of the pool whose cookies are harvested: the first in the
// memory that Config.Table made. 0: there are none.
func (b *Backend) Entries() int {
	if d := b.decision.Load(); d.mode.NeedsPool() {
		return int(d.pool.inUse.Load())
	}
	return 0
}

// MaxFlows is how many flows the back end has entries of a pool for at a time, in the mode in force; 0: as many as are
// opened. Those in reserve are not for flows: a handshake finds a free one soon.
func (b *Backend) MaxFlows() int {
	p := b.pool()
	if p == nil {
		return 0
	}
	if n := int(p.bounded.Load()); n > 0 {
		return n
	}
	return p.size
}

// Server is its address.
func (b *Backend) Server() netip.AddrPort { return b.config.Server }

// Ready reports whether clients can be handed over.
func (b *Backend) Ready() bool { return b.up.Load() && (!b.Mode().NeedsPool() || b.serves.Load()) }

// Status is a snapshot.
func (b *Backend) Status() Status {
	d := b.decision.Load()
	s := Status{
		Server: b.config.Server.String(), Handoff: d.mode.String(), Why: modes[d.mode].why(d.profile),
		Up: b.up.Load(), Ready: b.Ready(), Profile: d.profile,
	}
	if d.mode.NeedsPool() {
		s.Pool, s.Known, s.Harvests = len(d.pool.entries), int(d.pool.known.Load()), b.harvests.Load()
		s.Harvesting = d.pool.more.Load()
		if d.profile.ages() {
			s.Refresh = b.lifetime.refreshEvery().Seconds()
		}
	}
	return s
}

// Close gives all sockets back. No worker may use the backend's verifiers any more, and all flows have ended.
func (b *Backend) Close() {
	if p := b.pool(); p != nil {
		b.retire(p)
	}
	b.lifetime.end()
	if b.canary != nil {
		_ = b.canary.Close()
	}
	if b.prober != nil {
		b.prober.close()
	}
}

// Fit is how a server can be handed clients.
type Fit struct {
	Mode    Mode
	Mapped  bool // native modes: it sees IPv4 clients under their v4-mapped addresses
	Serves  Versions
	Retries *Retries   // native-wolfssl of DTLS 1.3
	PSK     *PSKSuites // ... whose Run is the caller's to call; nil unless Retries is there
	Why     string
}

// ProbeInline finds the mode for a server that keeps its port and sees the clients' own addresses: its cookies
// cannot be harvested, so it must trust the guard's, or share a secret with it. asked is the mode asked for, Auto
// or native. psk is Config's. Errors say what to do.
func ProbeInline(ctx context.Context, server netip.AddrPort, asked Mode, ring *cookie.Keyring, psk Suite) (Fit, error) {
	p, err := probeOnce(ctx, server, ring)
	var mode Mode
	if err == nil {
		mode, err = p.choose(asked, ring)
	}
	if asked == Auto && err == nil && !mode.Inline() {
		mode = Reset // inline there is nobody between client and server for more
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

// ErrNoMode says that a server answers, but cannot be handed clients.
var ErrNoMode = errors.New("no hand-off mode fits")

// Probe asks a server what it is like, and says which mode fits it and why; ring holds secrets that may be shared with
// it, nil if none are.
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
	t, err := p.probe(ctx, patience)
	if err != nil {
		err = noAnswer(err)
	}
	return t, err
}

func noAnswer(err error) error {
	return hint.Errorf("start the server before dtlsguard, and make sure that it speaks DTLS 1.2 there", "ask for a cookie: %w within %v", err, patience)
}
