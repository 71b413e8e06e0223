package frontend

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// Service is what clients reach at one public address: a proxy in front of back ends, or a server on this host that
// keeps its port.
type Service struct {
	Name     string         // for people; "": the address
	Listen   netip.AddrPort // the public address; inline, the server's own
	Backends []Backend      // the servers; none: inline
	Settings *Settings      // nil: those of the Config

	Interfaces []string // of XDP.Interfaces, those that it is guarded on; none: all
}

// Backend is one server of a proxy.
type Backend struct {
	Address string // HOST:PORT; a name is resolved again every Config.ResolveEvery
	Weight  int    // its share of the clients, relative to the other back ends; 0: 1
}

// At is the back end at one address.
func At(a netip.AddrPort) []Backend { return []Backend{{Address: a.String()}} }

// name is what metrics, logs and status call the service.
func (s *Service) name() string {
	if s.Name == "" {
		return s.Listen.String()
	}
	return s.Name
}

// Inline reports whether the service is a server on this host that keeps its port.
func (s *Service) Inline() bool { return len(s.Backends) == 0 }

// Settings may differ per service. Zero values mean the defaults.
type Settings struct {
	Handoff     handoff.Mode
	HarvestPool int     // cookies to harvest of each back end, at least; 0: what fits the server
	HarvestRate float64 // questions per second while harvesting; 0: handoff.DefaultHarvestRate

	PSKSuite handoff.Suite // native-wolfssl: of all pre-shared keys of DTLS 1.3; 0: the server is asked about each

	SecretFile  string        // "": the guard's own secrets
	RotateEvery time.Duration // of the guard's own secrets; 0: DefaultRotateEvery

	ServiceFlows int           // of a proxy, its share of Config.MaxFlows; 0: all
	IdleTimeout  time.Duration // a silent flow ends after it; 0: DefaultIdleTimeout

	HelloRate        limit.Rate // verified ClientHellos per source; PerSecond < 0: no limit
	BackendHelloRate limit.Rate // verified ClientHellos per service; PerSecond 0: no limit

	// In the kernel.
	Answer         bpf.Answer // who answers ClientHellos; AnswerAuto is the best that the service and the attach mode allow
	Unverified     bpf.Unverified
	UnverifiedRate bpf.Rate  // for UnverifiedLimit
	Pass           bpf.Class // protocols that share the port and are let through
	Monitor        bool      // count verdicts, enforce nothing

	AttackRate float64 // unverified datagrams per second above which is an attack; 0: ten times the usual rate
}

// XDP configures the kernel programs. Without Interfaces there are none.
type XDP struct {
	Interfaces     []string // that the programs are attached to
	AllowUnguarded bool     // inline servers that trust the guard may be reached through other interfaces as well
	Mode           bpf.AttachMode
	Chain          string   // pinned program array of a root program on the interface, in which the guard is installed; "": none
	AnswerRate     bpf.Rate // answers per CPU in the kernel, for all services together; zero: no limit
	PassWhenLost   bool     // while the daemon is dead, ClientHellos that nobody answers go to the server
	KeepAttached   bool     // a stopped guard leaves its programs attached
	KeepNeighbours bool     // hold the neighbour entries of routers whose frames arrive
	Pin            string   // directory on a bpffs below which programs and maps outlive the process; "": they do not
	Owner          int      // user that the process will become; 0: none
}

// Config of a Server. Zero values mean the defaults of `dtlsguard run --help`.
type Config struct {
	Settings // of services without their own

	Services []Service
	XDP      XDP

	Workers int // per service; 0: one per CPU
	Batch   int // datagrams per system call; 0: DefaultBatch
	Nice    int // of the workers' threads (nice(2)): -20 to 19

	MaxFlows          int
	FlowsPerSource    int // /32 or /64, and eight times that per /24 or /48; < 0: no limit
	HalfOpenPerSource int // the same, of those whose handshake is not finished
	HandshakeTimeout  time.Duration

	Engage          addresses.Engage // when mode reset challenges clients that have not proved their address
	EngageRate      float64          // their ClientHellos per second above which Load challenges and mode limit drops; 0: DefaultEngageRate
	AddressLifetime time.Duration    // how long a proved address is kept unseen; 0: DefaultAddressLifetime
	AllowFile       string           // prefixes that count as proved; "": none
	DenyFile        string           // prefixes from which everything is dropped; "": none
	TrustTCP        []uint16         // TCP ports of this host whose peers have proved their address

	ReceiveBuffer int  // bytes asked for each worker's socket; 0: DefaultReceiveBuffer
	FreeBind      bool // a service's address may be added to the host later
	WorkersPort   int  // inline, where workers answer: the port of the first service's workers; others have the next ones. 0: any

	AttackQuiet time.Duration // an attack has ended when the rate was below half of the threshold for this time; 0: attack.DefaultQuiet

	MapLog string // file that gets a line for each flow of a proxy that opens or closes; "": none

	DrainTimeout time.Duration // how long flows may continue while draining; 0: DefaultDrainTimeout
	ResolveEvery time.Duration // how often names of back ends are resolved; 0: DefaultResolveEvery
	Resolve      Resolver      // nil: the system's

	MAC     cookie.MAC   // of the guard's own cookies
	Cookies *cookie.Plan // how workers compute cookies; nil: the fastest
	Entropy io.Reader    // nil: crypto/rand
	Log     *slog.Logger
	Build   metrics.Build // the program around the guard

	Predecessor *Predecessor // the guard that this one replaces; nil: none

	Shown map[string]any // flags of the program around the guard: Status shows them next to the guard's own
}

// Resolver finds the addresses of a host name.
type Resolver func(ctx context.Context, host string) ([]netip.Addr, error)

// Defaults.
const (
	// DefaultBatch: batching gains nothing beyond some 32 datagrams per system call, and 64 still fit the
	// first-level cache with their headers.
	DefaultBatch = 64
	// DefaultNice: in overload the kernel receives in a thread of normal priority, which takes half of the CPU from the worker
	// for packets that are dropped anyway. At -10 a worker gets nine tenths, and the excess is dropped in the receive ring, at
	// no cost.
	DefaultNice = -10
	// MaxBatch is UIO_MAXIOV, the most that recvmmsg(2) and sendmmsg(2) take.
	MaxBatch = 1024
	// DefaultRotateEvery: a cookie is valid for one to two intervals, and a client returns it within a round
	// trip, or after the retransmissions of some seconds.
	DefaultRotateEvery = time.Minute
	// MinRotateEvery: below it, a slow client's cookie could expire twice in one handshake.
	MinRotateEvery = time.Second
	// DefaultMaxFlows: at about 400 bytes and one socket per flow, 65536 flows cost a service little.
	DefaultMaxFlows = 65536
	// DefaultIdleTimeout is how long RFC 4787 REQ-5 recommends a NAT to keep a silent UDP mapping.
	DefaultIdleTimeout = 5 * time.Minute
	// DefaultFlowsPerSource and DefaultHalfOpenPerSource: one host needs few; a carrier's NAT needs more, and may exceed them
	// while the table has room (relay.Limits).
	DefaultFlowsPerSource    = 256
	DefaultHalfOpenPerSource = 32
	// DefaultHandshakeTimeout, since the last message of the handshake, is for round trips of 20 s.
	DefaultHandshakeTimeout = 30 * time.Second
	// DefaultReceiveBuffer holds some 5000 small datagrams, 25 ms of what one worker can answer: longer than
	// the scheduler or the garbage collector ever stop it.
	DefaultReceiveBuffer = 4 << 20
	// DefaultMetrics is the default address of the metrics.
	DefaultMetrics = "127.0.0.1:9477"
	// DefaultResolveEvery is the usual time to live of records that are meant to move, such as those of cluster DNS.
	DefaultResolveEvery = 30 * time.Second
	// DefaultDrainTimeout is as long as a silent flow is kept, so that draining only waits for active flows.
	DefaultDrainTimeout = DefaultIdleTimeout
	// MaxWeight keeps the least share of a back end visible: one client in 1000 or so.
	MaxWeight = 1000
)

// Defaults of modes reset and limit.
const (
	// DefaultEngageRate is some 4 MB of half-open handshakes per minute at 1.5 KB each, which any server can hold, and more
	// new clients than most see.
	DefaultEngageRate = 50
	// DefaultAddressLifetime is long for a client that retries at once, and short for an address that is reassigned.
	DefaultAddressLifetime = 10 * time.Minute
	// maxAddressLifetime is what a set's clock of 32 bits of seconds can tell apart, with room to spare.
	maxAddressLifetime = 365 * 24 * time.Hour
)

// DefaultHelloRate lets one address reconnect at will, and 300 clients behind it start at once.
var DefaultHelloRate = limit.DefaultSource

// complete fills in the defaults and refuses invalid combinations.
func (c *Config) complete() error {
	defaulted(&c.Workers, runtime.GOMAXPROCS(0))
	defaulted(&c.Batch, DefaultBatch)
	defaulted(&c.MaxFlows, DefaultMaxFlows)
	defaulted(&c.FlowsPerSource, DefaultFlowsPerSource)
	defaulted(&c.HalfOpenPerSource, DefaultHalfOpenPerSource)
	defaulted(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	defaulted(&c.ReceiveBuffer, DefaultReceiveBuffer)
	defaulted(&c.EngageRate, DefaultEngageRate)
	defaulted(&c.AddressLifetime, DefaultAddressLifetime)
	defaulted(&c.AttackQuiet, attack.DefaultQuiet)
	defaulted(&c.DrainTimeout, DefaultDrainTimeout)
	defaulted(&c.ResolveEvery, DefaultResolveEvery)
	c.Settings.complete()
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
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
	services := make([]Service, len(c.Services)) // the caller's services stay unchanged
	for i, s := range c.Services {
		own := c.Settings
		if s.Settings != nil {
			own = *s.Settings
			own.complete()
		}
		s.Settings = &own
		s.Backends = append([]Backend(nil), s.Backends...)
		for i := range s.Backends {
			defaulted(&s.Backends[i].Weight, 1)
		}
		services[i] = s
	}
	c.Services = services
	return c.check()
}

func (s *Settings) complete() {
	defaulted(&s.HarvestRate, handoff.DefaultHarvestRate)
	defaulted(&s.RotateEvery, DefaultRotateEvery)
	defaulted(&s.IdleTimeout, DefaultIdleTimeout)
	if s.HelloRate.PerSecond == 0 {
		s.HelloRate = DefaultHelloRate
	}
	if r := &s.BackendHelloRate; r.Burst == 0 { // the tokens of one second
		r.Burst = max(1, int(r.PerSecond))
	}
	if s.Answer == bpf.AnswerDrop {
		s.Answer = bpf.AnswerAuto
	}
}

// defaulted gives *v the default where it is zero.
func defaulted[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
