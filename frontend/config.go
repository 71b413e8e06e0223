package frontend

import (
	"crypto/rand"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// Service is a public address and the server behind it.
type Service struct{ Listen, Backend netip.AddrPort }

// Config of a Server. Zero values mean the defaults of `dtlsguard run --help`.
type Config struct {
	Services []Service        // proxies
	Protect  []netip.AddrPort // addresses of servers on this host that keep their port: inline
	XDP      XDP

	Workers int // per service; 0: one a CPU
	Batch   int // datagrams a system call; 0: DefaultBatch
	Nice    int // of the workers' threads (nice(2)): -20 to 19

	Handoff     handoff.Mode
	HarvestPool int // ports a service; 0: handoff.DefaultPool

	MAC         cookie.MAC    // of the guard's own cookies
	Cookies     *cookie.Plan  // how workers compute cookies; nil: in the fastest way
	SecretFile  string        // "": secrets of our own
	RotateEvery time.Duration // of our own secrets; 0: DefaultRotateEvery

	MaxFlows          int
	FlowsPerSource    int // /32 or /64, and eight times that per /24 or /48; < 0: no limit
	HalfOpenPerSource int // the same, of those whose handshake is not finished
	HandshakeTimeout  time.Duration
	IdleTimeout       time.Duration

	HelloRate        limit.Rate // verified ClientHellos of one source; PerSecond < 0: no limit
	BackendHelloRate limit.Rate // verified ClientHellos of one service; PerSecond 0: no limit

	ReceiveBuffer int // bytes asked for each worker's socket; 0: DefaultReceiveBuffer

	Entropy io.Reader // nil: crypto/rand
	Log     *slog.Logger

	Shown map[string]any // flags of the program around the guard: Status shows them beside the guard's own
}

// Defaults.
const (
	// DefaultBatch: the gain of batching a system call is flat from some 32 datagrams on, and 64 still fit the
	// first-level cache with their headers.
	DefaultBatch = 64
	// DefaultNice: in overload the kernel's receiving side, which is a thread of the usual priority then, takes half of
	// the CPU from the worker, to bring what is shed anyway. At -10 a worker has nine tenths, and what is too much is
	// dropped where it costs nothing, in the receive ring.
	DefaultNice = -10
	// MaxBatch is UIO_MAXIOV, the most that recvmmsg(2) and sendmmsg(2) take.
	MaxBatch = 1024
	// DefaultRotateEvery: a cookie is good for one to two intervals, and a client returns it within a round
	// trip, or after the retransmissions of some seconds.
	DefaultRotateEvery = time.Minute
	// MinRotateEvery: below, a slow client's cookie could die twice in one handshake.
	MinRotateEvery = time.Second
	// DefaultMaxFlows: at some 400 bytes and one socket a flow, 65536 are what one service may cost unasked.
	DefaultMaxFlows = 65536
	// DefaultIdleTimeout is how long RFC 4787 REQ-5 recommends a NAT to keep a silent UDP mapping.
	DefaultIdleTimeout = 5 * time.Minute
	// DefaultFlowsPerSource and DefaultHalfOpenPerSource: one host needs few; a carrier's NAT needs more and gets them
	// while there is room (relay.Limits).
	DefaultFlowsPerSource    = 256
	DefaultHalfOpenPerSource = 32
	// DefaultHandshakeTimeout, since the last message of the handshake, is for round trips of 20 s.
	DefaultHandshakeTimeout = 30 * time.Second
	// DefaultReceiveBuffer holds some 5000 small datagrams, 25 ms of what one worker can answer: longer than
	// the scheduler or the garbage collector ever keep it away.
	DefaultReceiveBuffer = 4 << 20
	// DefaultMetrics is where metrics are served unless told otherwise.
	DefaultMetrics = "127.0.0.1:9477"
)

// DefaultHelloRate lets one address reconnect at will, and 300 clients behind it start at once.
var DefaultHelloRate = limit.DefaultSource

// complete fills in the defaults and refuses what cannot be.
func (c *Config) complete() error {
	usage := func(format string, a ...any) error {
		return hint.Usagef(format, a...)
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Workers, runtime.GOMAXPROCS(0))
	def(&c.Batch, DefaultBatch)
	def(&c.HarvestPool, handoff.DefaultPool)
	def(&c.MaxFlows, DefaultMaxFlows)
	def(&c.FlowsPerSource, DefaultFlowsPerSource)
	def(&c.HalfOpenPerSource, DefaultHalfOpenPerSource)
	def(&c.ReceiveBuffer, DefaultReceiveBuffer)
	if c.RotateEvery == 0 {
		c.RotateEvery = DefaultRotateEvery
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.HelloRate.PerSecond == 0 {
		c.HelloRate = DefaultHelloRate
	}
	if c.Cookies == nil {
		c.Cookies = cookie.Measured()
	}
	if c.Entropy == nil {
		c.Entropy = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(c.Services)+len(c.Protect) == 0:
		return usage("nothing to protect: give --listen ADDRESS:PORT and --backend ADDRESS:PORT, or --protect ADDRESS:PORT and --interface NAME")
	case len(c.Protect) > 0 && c.XDP.Interface == "":
		return usage("--protect is done by XDP: give --interface, the one that clients come in by")
	case len(c.Protect) > 0 && c.Handoff == handoff.Harvest:
		return usage("--handoff harvest needs a socket between guard and server: use --listen and --backend, or --handoff trust")
	case c.Handoff.Native() && c.SecretFile == "":
		return usage("--handoff %v computes the server's cookies from a secret that both have: give --secret-file, and the server the same 32 bytes as its key", c.Handoff)
	case c.Workers < 0 || c.Workers > 1024:
		return usage("--workers %d: want 1 to 1024", c.Workers)
	case c.Nice < -20 || c.Nice > 19:
		return usage("--worker-nice %d: want -20 (first in line) to 19", c.Nice)
	case c.Batch < 1 || c.Batch > MaxBatch:
		return usage("--batch %d: want 1 to %d, the most that recvmmsg takes", c.Batch, MaxBatch)
	case c.RotateEvery < MinRotateEvery:
		return usage("--rotate-every %v: want %v or more, so that no handshake sees two rotations", c.RotateEvery, MinRotateEvery)
	case c.IdleTimeout < time.Second:
		return usage("--idle-timeout %v: want 1s or more", c.IdleTimeout)
	case c.HandshakeTimeout < time.Second:
		return usage("--handshake-timeout %v: want 1s or more", c.HandshakeTimeout)
	case c.MaxFlows < 1:
		return usage("--max-flows %d: want 1 or more", c.MaxFlows)
	case c.HarvestPool < 1:
		return usage("--harvest-pool %d: want 1 or more", c.HarvestPool)
	}
	seen := make(map[netip.AddrPort]bool)
	for _, a := range c.Protect {
		if !a.IsValid() || a.Port() == 0 || seen[a] {
			return usage("--protect %v is not an address and port, or is given twice", a)
		}
		seen[a] = true
	}
	for _, s := range c.Services {
		switch {
		case !s.Listen.IsValid() || s.Listen.Port() == 0 && len(c.Services) > 1:
			return usage("--listen %v is not an address and port", s.Listen)
		case !s.Backend.IsValid() || s.Backend.Port() == 0 || s.Backend.Addr().IsUnspecified():
			return usage("--backend %v is not the address and port of a server", s.Backend)
		case c.HarvestPool > handoff.MaxPool(s.Backend.Addr()):
			return usage("--harvest-pool %d: at most %d towards %v: %d ephemeral ports of each address that the guard can have there (eight on IPv4 loopback), less one in 17 in reserve",
				c.HarvestPool, handoff.MaxPool(s.Backend.Addr()), s.Backend.Addr(), handoff.PortsPerAddress)
		case seen[s.Listen]:
			return usage("--listen %v is given twice", s.Listen)
		case s.Listen == s.Backend:
			return usage("--listen and --backend are both %v: let the server listen on another port", s.Listen)
		}
		seen[s.Listen] = true
	}
	return nil
}
