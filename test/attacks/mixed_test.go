package attacks

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// mixture is how much of each attack runs at once.
type mixture struct {
	lasts           time.Duration
	guesses, junk   int // per second
	sessions        int // silent ones; there are as many busy ones
	clients         int // new ones per second
	collected       int // cookies that the attacker has
	everyPort       bool
	pool, flags     string
	guarded         bool // otherwise everything goes to the server directly
	measured, sweep time.Duration
}

// TestMixedAttack runs all attacks at once against an unmodified OpenSSL server: guesses, junk, two real hosts at their limits,
// forged alerts to all ports, guesses from established clients' addresses.
func TestMixedAttack(t *testing.T) {
	m := mixture{lasts: 8 * time.Second, guesses: 3000, junk: 3000, sessions: 10, clients: 5, collected: 100, pool: "4096", guarded: true,
		measured: time.Second, sweep: 4 * time.Second}
	if *whole {
		m = mixture{lasts: *mixed, guesses: 100_000, junk: 100_000, sessions: 100, clients: 20, collected: 2000, everyPort: true, pool: "65536", guarded: true,
			measured: 10 * time.Second, sweep: time.Minute}
	}
	m.run(t)
}

// TestMixedAttackHurts shows that the attack works: without the guard clients are lost.
func TestMixedAttackHurts(t *testing.T) {
	if !*whole {
		t.Skip("takes more than seconds: -whole")
	}
	m := mixture{lasts: 30 * time.Second, guesses: 100_000, junk: 100_000, sessions: 100, clients: 20, collected: 2000, everyPort: true,
		measured: 10 * time.Second, sweep: 20 * time.Second}
	m.run(t)
}

// mixedRun is a running mixture.
type mixedRun struct {
	*mixture
	t      *testing.T
	to     netip.AddrPort
	server *program
	guard  *guardProgram // nil: none

	silent, busy []*session
	abandoned    atomic.Uint64
	alerts       atomic.Uint64
	stolen       atomic.Uint64 // guesses from established addresses
	tried, lost  atomic.Uint64
	dead         atomic.Uint64 // busy sessions that did not answer in time

	mu  sync.Mutex
	why map[string]int // of the lost ones
}

func (m *mixture) run(t *testing.T) {
	b := &mixedRun{mixture: m, t: t, why: make(map[string]int)}
	b.open()
	began := time.Now()
	b.busy, b.silent = begin(t, m.sessions, 0, b.to), begin(t, m.sessions, 8, b.to)
	t.Logf("%d sessions after %v", 2*m.sessions, time.Since(began).Round(time.Millisecond))
	cookies := b.collect(m.collected)
	b.seesTheDead()

	ctx, cancel := context.WithTimeout(t.Context(), m.lasts)
	defer cancel()
	g, j := newForger(t, b.to, guesses(cookies)), newForger(t, b.to, junk())
	serverBefore, began := b.server.cpu(), time.Now()
	var all sync.WaitGroup
	for _, f := range []func(){
		func() { g.run(ctx, m.guesses) }, func() { j.run(ctx, m.junk) },
		func() { b.hosts(ctx) }, func() { b.forgers(ctx, cookies) }, func() { b.sweeps(ctx) }, func() { b.converse(ctx) }, func() { b.newcomers(ctx) },
	} {
		all.Go(f)
	}
	samples := b.measure(ctx)
	all.Wait()
	took := time.Since(began).Seconds()
	load := (b.server.cpu() - serverBefore) / took
	busy, silent := survivors(b.busy), survivors(b.silent)

	t.Logf("in %.0f s sent: guesses: %s; junk: %s; %d half-open handshakes of two hosts, %d forged alerts, %d guesses from established addresses",
		took, g.says(took, m.guesses), j.says(took, m.junk), b.abandoned.Load(), b.alerts.Load(), b.stolen.Load())
	t.Logf("lost: %d of %d silent and %d of %d busy sessions (late %d times), %d of %d new clients %v",
		m.sessions-silent, m.sessions, m.sessions-busy, m.sessions, b.dead.Load(), b.lost.Load(), b.tried.Load(), b.why)
	t.Logf("the server used %.1f %% of a CPU", 100*load)
	served := b.tried.Load() - b.lost.Load()
	kept := busy == m.sessions && silent == m.sessions && served*1000 >= b.tried.Load()*999
	if m.guarded {
		b.flat(samples)
		t.Logf("flows:\n%s", b.guard.flows())
	}
	const enough = 0.95 // of the rates asked for
	if *whole && min(g.rate(took)/float64(m.guesses), j.rate(took)/float64(m.junk)) < enough {
		t.Error("the attack was weaker than asked for: this machine is busy, or too slow")
	}
	if kept != m.guarded {
		t.Errorf("all sessions and 99.9 %% of new clients survive: %v, with a guard: %v", kept, m.guarded)
	}
}

// open starts the server, which keeps silent clients, and the guard.
func (b *mixedRun) open() {
	t := b.t
	dir := t.TempDir()
	id, err := peers.NewIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := peers.Find("openssl").Program
	p.Options = append(slices.Clone(p.Options), "-DPEER_IDLE=10800000")
	binary, err := p.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	b.to = free(t)
	b.server = start(t, binary, peers.Arguments(b.to, id, "")...)
	eventually(t, "the server listens", func() bool { return peers.Listens(b.server.cmd.Process.Pid, b.to) })
	if !b.guarded {
		return
	}
	b.guard = startProgram(t, 20_000, b.to, "--idle-timeout 3h --harvest-pool "+b.pool+" "+b.flags)
	b.to = b.guard.addr
	eventually(t, "the guard is ready", func() bool { _, err := b.guard.get("/readyz"); return err == nil })
	first, memory := time.Since(b.guard.began), b.guard.memory()
	eventually(t, "the pool is full", func() bool { return bytes.Contains([]byte(b.guard.said.String()), []byte("pool is full")) })
	t.Logf("pool of %s: ready after %v with %d KiB and %d files, full %v later with %d KiB", b.pool,
		first.Round(time.Millisecond), memory, b.guard.files(), (time.Since(b.guard.began) - first).Round(time.Millisecond), b.guard.memory())
}

// collect gets cookies from the server, as any client can.
func (b *mixedRun) collect(n int) (list [][]byte) {
	g := &guard{t: b.t, addr: b.to}
	for i := range n {
		c := g.dial(source(100 + i%200))
		c.ask(newHello().Bytes(), patience, func(d []byte) bool {
			k, ok := hello.HelloVerifyCookie(d)
			if ok {
				list = append(list, bytes.Clone(k))
			}
			return ok
		})
		c.end()
	}
	if len(list) < n {
		b.t.Fatalf("%d of %d cookies collected", len(list), n)
	}
	return list
}

// seesTheDead checks that an ended session counts as lost.
func (b *mixedRun) seesTheDead() {
	s, err := connectDTLS(source(90), b.to, patience)
	if err != nil {
		b.t.Fatal(err)
	}
	if !s.alive(patience) {
		b.t.Error("a live session counts as lost")
	}
	s.end()
	if s.alive(time.Second) {
		b.t.Error("an ended session counts as alive")
	}
}

// sample is what the guard uses at one moment.
type sample struct{ memory, files int }

// measure samples the guard until ctx ends.
func (b *mixedRun) measure(ctx context.Context) (list []sample) {
	began, cpu := time.Now(), 0.0
	if b.guard != nil {
		cpu = b.guard.cpu()
	}
	for ctx.Err() == nil {
		pause(ctx, b.measured)
		if b.guard != nil {
			list = append(list, sample{b.guard.memory(), b.guard.files()})
		}
	}
	if b.guard != nil {
		b.t.Logf("the guard used %.1f %% of a CPU", 100*(b.guard.cpu()-cpu)/time.Since(began).Seconds())
	}
	return list
}

// flat checks that the guard uses no more at the end than after a third of the time.
func (b *mixedRun) flat(list []sample) {
	third := len(list) / 3
	if third == 0 {
		return
	}
	most := func(part []sample) (m sample) {
		for _, s := range part {
			m.memory, m.files = max(m.memory, s.memory), max(m.files, s.files)
		}
		return m
	}
	middle, last := most(list[third:2*third]), most(list[2*third:])
	b.t.Logf("the guard at first %d KiB and %d files, in the second third %d KiB and %d files at most, in the last %d KiB and %d files",
		list[0].memory, list[0].files, middle.memory, middle.files, last.memory, last.files)
	const slack, settles = 10, 3 * time.Minute // a tenth: a garbage collection earlier or later; half-open flows live for two minutes at most
	if b.lasts < settles {
		return
	}
	if last.memory > middle.memory+middle.memory/slack || last.files > middle.files+middle.files/slack {
		b.t.Error("the guard's memory or files grow")
	}
}
