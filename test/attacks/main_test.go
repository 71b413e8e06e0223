package attacks

import (
	"flag"
	"net/netip"
	"testing"
	"time"

	testguard "github.com/dtlsguard/dtlsguard/bench/testkit/guard"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

var (
	whole = flag.Bool("whole", false, "run the attacks at full length instead of for seconds")
	mixed = flag.Duration("mixed", 30*time.Minute, "with -whole: how long TestMixedAttack lasts")
)

// patience is how long a test waits for what must happen.
const patience = await.Patience

// lasting is the duration of an attack: short, unless -whole is given.
func lasting(short, long time.Duration) time.Duration {
	if *whole {
		return long
	}
	return short
}

// guard is a guard in this process, with the program's defaults except for what a test changes.
type guard struct {
	*frontend.Server
	t    *testing.T
	addr netip.AddrPort
}

func startGuard(t *testing.T, server netip.AddrPort, change func(*frontend.Config)) *guard {
	t.Helper()
	c := frontend.Config{
		Services: []frontend.Service{{
			Listen: netip.MustParseAddrPort("127.0.0.1:0"), Backends: []frontend.Backend{{Address: server.String()}},
		}},
		Workers: 2,
	}
	change(&c)
	s, err := frontend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	testguard.Run(t, s)
	g := &guard{s, t, s.Listening()[0]}
	eventually(t, "the guard is ready", func() bool { return s.Ready() == nil })
	return g
}

// count is the number of the given events so far.
func (g *guard) count(events ...metrics.Event) (n uint64) {
	totals := g.Totals()
	for _, e := range events {
		n += totals.Events[e]
	}
	return n
}

// report logs what the guard did with an attack.
func (g *guard) report() {
	st := g.Status()
	g.t.Logf("packets %v; flows %v; ended %v", st.Packets["client"], st.FlowStatus.States, st.FlowStatus.Ended)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	await.Eventually(t, what, done)
}
