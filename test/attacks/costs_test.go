package attacks

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What guessed cookies cost a server behind a pool of 65 536 cookies: of a million guesses per second, 16 to 32 are right
// by arithmetic.
func TestGuessesCost(t *testing.T) {
	perSecond, lasts := 20_000, 5*time.Second
	pool := 1 << 13
	if *whole {
		perSecond, lasts, pool = 1_000_000, time.Minute, 1<<16
	}
	m := &mixture{pool: fmt.Sprint(pool), guarded: true, collected: min(pool, 2000)}
	b := &mixedRun{mixture: m, t: t}
	b.open()
	cookies := b.collect(m.collected)
	idle := b.server.cpu()
	began := time.Now()
	pause(t.Context(), time.Second)
	idle = (b.server.cpu() - idle) / time.Since(began).Seconds()

	before, guard, hellos := b.server.cpu(), b.guard.cpu(), b.guard.verified()
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	f := newForger(t, b.to, guesses(cookies))
	began = time.Now()
	f.run(ctx, perSecond)
	took := time.Since(began).Seconds()
	right := b.guard.verified() - hellos
	t.Logf("guesses in front of %d cookies: %s; %d were right, %.1f per second and %.1f per million", pool, f.says(took, perSecond), right,
		float64(right)/took, float64(right)/float64(f.sent.Load())*1e6)
	t.Logf("the server used %.1f %% of a CPU, %.1f %% without them; the guard %.1f %%", 100*(b.server.cpu()-before)/took, 100*idle, 100*(b.guard.cpu()-guard)/took)
	s, err := connectDTLS(source(5), b.to, patience)
	if err != nil {
		t.Fatalf("a client afterwards: %v", err)
	}
	s.end()
}

// As many clients at once as the limit of open files allows, through a pool that holds no sockets for them.
func TestManyClientsAtATime(t *testing.T) {
	n, pool := 500, 1<<13
	if *whole {
		n, pool = 20_000, 1<<16
	}
	s := startServer(t, false)
	// Each flow is a socket, some files serve other purposes, and the limit cannot be raised above the hard one.
	const others = 500
	files := min(n+others, hardLimit(t))
	n = min(n, files-others)
	g := startProgram(t, files, s.addr(), fmt.Sprintf("--handoff harvest --harvest-pool %d --idle-timeout 1h", pool))
	eventually(t, "the guard is ready", func() bool { _, err := g.get("/readyz"); return err == nil })
	before := g.memory()
	c := newCrowd(t, n, g.addr)
	began, served := time.Now(), 0
	atOnce := min(n/8, 500) // half of the half-open flows allowed
	for part := range slices.Chunk(c.members, atOnce) {
		served += c.connect(part)
	}
	took, alive := time.Since(began), 0
	for part := range slices.Chunk(c.members, atOnce) {
		alive += c.living(part)
	}
	t.Logf("%d of %d clients within %v; %d are alive; %d files, %d KiB, %d KiB before\n%s", served, n, took.Round(time.Millisecond), alive, g.files(), g.memory(), before, g.flows())
	if served != n || alive != n {
		t.Errorf("%d of %d clients are served, %d alive", served, n, alive)
	}
}

// hardLimit is the highest number of files that this process may open.
func hardLimit(t *testing.T) int {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return int(min(l.Max, math.MaxInt32))
}

// How long pools take to fill, and what memory and files they need.
func TestPools(t *testing.T) {
	pools := []int{1 << 12}
	if *whole {
		pools = []int{1 << 16, 1 << 20}
	}
	for _, pool := range pools {
		t.Run(fmt.Sprint(pool), func(t *testing.T) {
			s := startServer(t, false)
			g := startProgram(t, 20_000, s.addr(), fmt.Sprintf("--handoff harvest --harvest-pool %d", pool))
			eventually(t, "the guard is ready", func() bool { _, err := g.get("/readyz"); return err == nil })
			first, memory, files := time.Since(g.began), g.memory(), g.files()
			const perSecond = 20_000 // --harvest-rate
			end := time.Now().Add(patience + 3*time.Duration(pool)*time.Second/perSecond)
			for !bytes.Contains([]byte(g.said.String()), []byte("pool is full")) {
				if time.Now().After(end) {
					t.Fatal("the pool did not fill in time")
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Logf("pool of %d: ready after %v with %d KiB and %d files, full after %v with %d KiB and %d files", pool, first.Round(time.Millisecond), memory, files,
				time.Since(g.began).Round(time.Millisecond), g.memory(), g.files())
			if g.files() > 500 {
				t.Errorf("%d files", g.files())
			}
		})
	}
}
