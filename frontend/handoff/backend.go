package handoff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// DefaultPool is the number of ports to harvest cookies for: a forged cookie is right once in 4096 guesses, once in 2048
// right after a rotation, and 4096 clients can have associations at the same time. Ephemeral ports allow some 26 000.
const DefaultPool = 4096

// patience is for a server that is just starting.
const patience = 3 * time.Second

// Config of a Backend.
type Config struct {
	Server  netip.AddrPort
	Mode    Mode
	Pool    int                    // ports that serve; 0: DefaultPool
	Table   func(ports int) Table  // makes the memory of the pool, of Ports(Pool) slots; nil: NewTable
	MAC     cookie.MAC             // of the guard's own cookies
	Cookies *cookie.Plan           // nil: the fastest
	Keys    func() *cookie.Keyring // of the secrets that the guard shares with the server; nil: it shares none
	Gate    *addresses.Gate        // of modes reset and limit; nil: one that knows nobody
	Now     func() int64           // its clock, in nanoseconds; nil: of this process
	Log     *slog.Logger
}

// Backend is a server and what is known of it.
type Backend struct {
	config  Config
	pool    *Pool
	prober  *prober
	canary  *udpbatch.Conn
	known   []byte // the canary's cookie
	kind    atomic.Uint32
	mapped  atomic.Bool // native modes: the server sees v4-mapped addresses
	serves  sharedVersions
	up      atomic.Bool
	full    atomic.Bool  // harvest: enough cookies are known
	bounded atomic.Int32 // harvest: ports that the server gives cookies to, and no more; 0: no bound was seen
	harvest atomic.Uint64
	traits  atomic.Pointer[Traits]
	suspect chan struct{}
	doubted atomic.Bool   // a client was not taken up, for whatever reason
	refused atomic.Bool   // the server refused a cookie
	opened  atomic.Uint64 // handshakes that have begun
	shaking atomic.Int64  // ... and are not over
	took    atomic.Bool   // the server has taken a client up since the last harvest
	heard   atomic.Bool   // it said something to a client
	quiet   time.Time     // since when it has said nothing; zero: it has answered the last question
	filled  time.Time     // when all cookies were asked for
	trials  trials        // of servers whose cookies end with time
}

// Status of a back end, for people and metrics.
type Status struct {
	Server   string  `json:"server"`
	Handoff  string  `json:"handoff"`
	Why      string  `json:"why"`
	Up       bool    `json:"up"`
	Ready    bool    `json:"ready"`
	Pool     int     `json:"pool"`
	Known    int     `json:"cookies_known"`
	Harvests uint64  `json:"harvests"`
	Refresh  float64 `json:"cookies_refreshed_every_seconds,omitempty"` // of a server whose cookies end with time
	Traits   *Traits `json:"traits"`
}

// Open probes the server, picks the mode, and harvests. It fails if the server does not answer, or if no mode
// (or not the one that was asked for) fits it; the error says what to do.
func Open(ctx context.Context, c Config) (*Backend, error) {
	if c.Pool == 0 {
		c.Pool = DefaultPool
	}
	if c.Cookies == nil {
		c.Cookies = cookie.Measured()
	}
	if c.Table == nil {
		c.Table = NewTable
	}
	if c.Gate == nil {
		c.Gate = addresses.NewGate(addresses.NewSet(0, 0), new(atomic.Pointer[addresses.Table]), addresses.Policy{})
	}
	if c.Now == nil {
		started := time.Now()
		c.Now = func() int64 { return int64(time.Since(started)) }
	}
	b := &Backend{config: c, suspect: make(chan struct{}, 1)}
	if err := b.open(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("back end %v: %w", c.Server, err)
	}
	return b, nil
}

// Fit is how a server can be handed clients.
type Fit struct {
	Mode   Mode
	Mapped bool // native modes: it sees IPv4 clients under their v4-mapped addresses
	Serves Versions
	Why    string
}

// ProbeInline finds the mode for a server that keeps its port and sees the clients' own addresses: its cookies
// cannot be harvested, so it must trust the guard's, or share a secret with it. asked is the mode asked for, Auto
// or native. Errors say what to do.
func ProbeInline(ctx context.Context, server netip.AddrPort, asked Mode, ring *cookie.Keyring) (Fit, error) {
	t, err := probeOnce(ctx, server, ring)
	var kind Mode
	if err == nil {
		kind, err = t.choose(asked, ring)
	}
	if asked == Auto && err == nil && kind != Trust && !kind.Native() {
		kind = Reset // inline there is nobody between client and server for more
	}
	if err != nil {
		return Fit{}, fmt.Errorf("server %v: %w", server, err)
	}
	return Fit{kind, t.Native != nil && t.Native.Mapped, t.serves(), t.why(kind)}, nil
}

// ErrNoMode says that a server answers, but cannot be handed clients.
var ErrNoMode = errors.New("no hand-off mode fits")

// Probe asks a server what it is like, and says which mode fits it and why; ring holds secrets that may be shared with
// it, nil if none are. If no mode fits, the error is an ErrNoMode that says what to do, and the traits are valid.
func Probe(ctx context.Context, server netip.AddrPort, ring *cookie.Keyring) (t Traits, k Mode, why string, err error) {
	if t, err = probeOnce(ctx, server, ring); err != nil {
		return t, Auto, "", err
	}
	if k, err = t.kind(); err != nil {
		return t, Auto, "", fmt.Errorf("%w: %w", ErrNoMode, err)
	}
	return t, k, t.why(k), nil
}

func probeOnce(ctx context.Context, server netip.AddrPort, ring *cookie.Keyring) (Traits, error) {
	p, err := newProber(server)
	if err != nil {
		return Traits{}, err
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

func (b *Backend) open(ctx context.Context) error {
	var err error
	if b.prober, err = newProber(b.config.Server); err != nil {
		return err
	}
	if b.canary, err = udpbatch.Dial(b.config.Server); err != nil {
		return err
	}
	if err := b.choose(ctx); err != nil {
		return err
	}
	question := (&hello.Probe{}).Append(nil)
	if b.pool, err = newPool(b.config.Server, b.config.Pool, b.config.Table(Ports(b.config.Pool)), question); err != nil {
		return err
	}
	b.pool.treat(b.traits.Load())
	b.up.Store(true) // it has just answered; the watch says what changes
	b.watch(ctx)
	return ctx.Err()
}

// choose probes and sets the mode.
func (b *Backend) choose(ctx context.Context) error {
	if b.config.Keys != nil {
		b.prober.ring = b.config.Keys()
	}
	t, err := b.prober.probe(ctx, patience)
	if err != nil {
		return noAnswer(err)
	}
	b.traits.Store(&t)
	kind, err := t.choose(b.config.Mode, b.prober.ring)
	if err == nil && kind == Harvest && t.Held && b.config.Pool > heldMost {
		err = &Misfit{"it keeps an unfinished handshake for each harvested cookie, each some 65 KB in coturn 4.6",
			fmt.Sprintf("--harvest-pool 256, or what it can keep, %d at most", heldMost)}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoMode, err)
	}
	b.serves.store(t.serves())
	b.mapped.Store(t.Native != nil && t.Native.Mapped)
	b.kind.Store(uint32(kind))
	return nil
}

// Mode is the mode that the server needs at the moment.
func (b *Backend) Mode() Mode { return Mode(b.kind.Load()) }

// CookieLength is that of the server's own cookies, in bytes.
func (b *Backend) CookieLength() int { return b.traits.Load().CookieLength }

// MaxFlows is how many flows the back end has sockets for at a time, in the mode of the moment; 0: as many as are opened. Those
// in reserve are not for flows: a handshake finds a free one soon.
func (b *Backend) MaxFlows() int {
	switch m := b.Mode(); {
	case m != Harvest && !m.Native():
		return 0
	case m == Harvest && b.bounded.Load() > 0:
		return int(b.bounded.Load())
	}
	return b.config.Pool
}

// Server is its address.
func (b *Backend) Server() netip.AddrPort { return b.config.Server }

// Ready reports whether clients can be handed over.
func (b *Backend) Ready() bool { return b.up.Load() && (b.Mode() != Harvest || b.full.Load()) }

// Status is a snapshot.
func (b *Backend) Status() Status {
	t := b.traits.Load()
	s := Status{
		Server: b.config.Server.String(), Handoff: b.Mode().String(), Why: t.why(b.Mode()),
		Up: b.up.Load(), Ready: b.Ready(), Traits: t,
	}
	if b.Mode() == Harvest {
		s.Pool, s.Known, s.Harvests = len(b.pool.ports), int(b.pool.known.Load()), b.harvest.Load()
		if t.ages() {
			s.Refresh = b.trials.refreshEvery().Seconds()
		}
	}
	return s
}

// Close gives all sockets back. No worker may use the backend's modes any more.
func (b *Backend) Close() {
	b.trials.end()
	if b.pool != nil {
		b.pool.close()
	}
	if b.canary != nil {
		b.canary.Close()
	}
	if b.prober != nil {
		b.prober.close()
	}
}
