package handoff

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// patience is the timeout of the first answer, long enough for a server that is starting.
const patience = 3 * time.Second

// Config of a Backend.
type Config struct {
	Server  netip.AddrPort
	Mode    Mode
	Pool    int                      // cookies to harvest, at least; 0: the mode's default
	Rate    float64                  // questions per second while harvesting; 0: DefaultHarvestRate
	Table   func(n int) Table        // allocates memory for a pool of n entries, which is never freed; nil: NewTable
	MAC     cookie.MAC               // of the guard's own cookies
	Cookies *cookie.Plan             // nil: the fastest
	Keys    func() *cookie.Keyring   // secrets shared with the server; nil: none
	PSK     Suite                    // native-wolfssl: suite of all pre-shared keys of DTLS 1.3; 0: the server is asked
	Gate    *addresses.Gate          // of modes reset and limit; nil: one without addresses
	Now     func() int64             // clock in nanoseconds; nil: this process's
	Changed func(up bool, why error) // called when the server goes down or comes up; nil: not called
	Log     *slog.Logger
}

// decision is how the guard treats a server, and the profile that it rests on. It is immutable: a new decision replaces
// it.
type decision struct {
	mode    Mode
	profile *Profile
	pool    *Pool // nil: the mode needs none
}

// mapped: the server sees v4-mapped addresses.
func (d *decision) mapped() bool { return d.profile.Native != nil && d.profile.Native.Mapped }

// Backend is a server with its decision, pool and watch.
type Backend struct {
	config   Config
	decision atomic.Pointer[decision]
	up       atomic.Bool
	serves   atomic.Bool // harvest: enough cookies are known to serve
	harvests atomic.Uint64
	reports  reports
	turn     sync.Mutex // held while the watch does something
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

// Open probes the server, picks the mode and starts to harvest, until clients can be served. It fails if the server does
// not answer, or if no mode, or not the one asked for, fits it; the error has a hint.
func Open(ctx context.Context, c Config) (*Backend, error) {
	b := newBackend(c)
	if err := b.open(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func newBackend(c Config) *Backend {
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
	b.reports.wake = make(chan struct{}, 1)
	return b
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
	b.up.Store(true) // it has just answered; the watch reports changes
	b.look(ctx, serving(time.Now().Add(openFor)))
	return ctx.Err()
}

// openFor bounds the harvest in Open; Run continues it.
const openFor = 10 * time.Second

// choose probes the server and decides.
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

// decide puts a mode and a profile in force, with a pool if the mode needs one. It keeps the old pool if that fits.
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
	b.psk.Forget() // there was a reason to probe again
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

// pool returns the pool in force, nil if there is none.
func (b *Backend) pool() *Pool {
	if d := b.decision.Load(); d != nil {
		return d.pool
	}
	return nil
}

// profile returns what is known of the server.
func (b *Backend) profile() *Profile { return b.decision.Load().profile }

// Mode returns the mode in force.
func (b *Backend) Mode() Mode { return b.decision.Load().mode }

// Serves returns the DTLS versions of clients that can be served.
func (b *Backend) Serves() Versions { return b.profile().serves() }

// CookieLength returns the length of the server's own cookies, in bytes.
func (b *Backend) CookieLength() int { return b.profile().CookieLength }

// Entries returns the number of harvested entries that handshakes are mapped to, the first ones of the memory that
// Config.Table made. 0: there is no harvested pool.
func (b *Backend) Entries() int {
	if d := b.decision.Load(); d.mode.NeedsPool() {
		return int(d.pool.inUse.Load())
	}
	return 0
}

// PoolTaken counts the entries of a harvested pool that nobody can be given: those of flows, and those whose ports other programs
// of this host have. It must not be called after the memory that Config.Table made is gone.
func (b *Backend) PoolTaken() (flows, others int) {
	if d := b.decision.Load(); d.mode.NeedsPool() {
		return d.pool.countTaken()
	}
	return 0, 0
}

// MaxFlows returns how many flows can have a pool entry at a time in the mode in force; 0: unlimited. Reserve entries are
// not counted: a handshake must find a free entry quickly.
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

// Server returns the server's address.
func (b *Backend) Server() netip.AddrPort { return b.config.Server }

// Ready reports whether clients can be handed over.
func (b *Backend) Ready() bool { return b.up.Load() && (!b.Mode().NeedsPool() || b.serves.Load()) }

// Status returns a snapshot.
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

// Close closes all sockets. It must come after the last use of the backend's verifiers and the end of all flows.
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
