package relay

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

const second = int64(time.Second)

// usual are the timeouts of the tests.
var usual = Timeouts{Handshake: 30 * time.Second, Idle: 300 * time.Second}

func TestFlowsAreFoundUntilClosed(t *testing.T) {
	c := newClients(t, Limits{Flows: 10})
	a, b := c.open(0), c.open(0)
	at := a.Event()
	if c.table.Lookup(a.Client) != a || c.table.Lookup(b.Client) != b || c.table.At(at) != a {
		t.Fatal("flows are not found")
	}
	if !a.Repeats(&hello.ClientHello{Random: &[32]byte{1}, Cookie: []byte("cookie")}) ||
		a.Repeats(&hello.ClientHello{Random: &[32]byte{2}, Cookie: []byte("cookie")}) ||
		a.Repeats(&hello.ClientHello{Random: &[32]byte{1}, Cookie: []byte("another")}) {
		t.Error("a retransmission is not told from another ClientHello")
	}
	client := a.Client
	c.table.Close(a)
	if c.table.Lookup(client) != nil || c.table.At(at) != nil || c.table.Len() != 1 {
		t.Error("a closed flow is found")
	}
	if d := c.open(0); c.table.At(at) == d {
		t.Error("an old event finds the flow that took the place")
	}
}

func TestStatesExpireAfterTheirOwnTime(t *testing.T) {
	c := newClients(t, Limits{Flows: 100})
	silent, slow, busy, refused := c.open(0), c.open(0), c.open(0), c.open(0)
	established, closing := c.establish(c.open(0), 0), c.establish(c.open(0), 0)
	c.table.FromServer(slow, flight, 0)
	c.table.FromServer(busy, flight, 0)
	c.table.FromServer(refused, fatal, 0)
	c.table.FromServer(closing, alert, 0)
	want := map[int64]map[*Flow]Expiry{
		0: {refused: HandshakeOver}, 10: {}, 11: {silent: HandshakeLate, closing: ClosedLong},
		30: {}, 31: {slow: HandshakeLate}, 120: {}, 121: {busy: HandshakeLate}, 300: {}, 301: {established: IdleLong},
	}
	for s := range int64(302) {
		if s < 121 {
			c.table.FromClient(busy, keyExchange, s*second)
		}
		got := c.swept(s * second)
		if len(got) != len(want[s]) {
			t.Errorf("at %d s %d flows end, want %d", s, len(got), len(want[s]))
		}
		for f, e := range want[s] {
			if got[f] != e {
				t.Errorf("at %d s a flow ends as %v, want %v", s, got[f], e)
			}
		}
	}
	if c.table.budget.Used() != 0 || c.table.budget.all.HalfOpen() != 0 || c.room.Used() != 0 {
		t.Error("flows that ended still count")
	}
}

// When a budget is three quarters used, half-open flows have 5 s.
func TestHalfOpenFlowsGoSoonerWhenRoomIsScarce(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		flows  int
		same   bool // all of one source
		gone   int
	}{
		"room":              {Limits{Flows: 100}, 18, false, 0},
		"half-open":         {Limits{Flows: 100}, 19, false, 19},
		"source":            {Limits{Flows: 10000, HalfOpenPerSource: 8}, 6, true, 6},
		"room for a source": {Limits{Flows: 10000, HalfOpenPerSource: 8}, 5, true, 0},
		"flows of a source": {Limits{Flows: 10000, PerSource: 8}, 6, true, 6},
	} {
		cl := newClients(t, c.limits)
		from := cl.stranger()
		for i := range c.flows {
			if !c.same {
				from = cl.stranger()
			}
			f := cl.openFrom(netip.AddrPortFrom(from.Addr(), uint16(i+1)), 0)
			cl.table.FromServer(f, flight, 0)
		}
		if n := len(cl.swept(5 * second)); n != 0 {
			t.Errorf("%s: %d flows end at 5 s", name, n)
		}
		// Each flow that ends makes room for the next ones, so only the first matters.
		if n := len(cl.swept(6 * second)); (n > 0) != (c.gone > 0) {
			t.Errorf("%s: %d flows end at 6 s, want %d at most", name, n, c.gone)
		}
	}
}

func TestVictims(t *testing.T) {
	c := newClients(t, Limits{Flows: 1000})
	// One source with eight half-open flows among single ones.
	first := c.open(0)
	heavy := c.stranger()
	var flows []*Flow
	for i := range 8 {
		flows = append(flows, c.openFrom(netip.AddrPortFrom(heavy.Addr(), uint16(i+1)), 1))
	}
	last := c.open(2)
	old, young := c.establish(c.open(0), 0), c.establish(c.open(1), 1)
	closing := c.establish(c.open(5), 5)
	c.table.FromServer(closing, alert, 5)
	busy := c.establish(c.open(0), 0)
	c.table.FromClient(busy, data, 40*second)
	for _, f := range append(flows, first, last) {
		c.table.KeepAlive(f, 40*second)
	}
	c.table.KeepAlive(last, 41*second)
	if n := c.swept(40*second - 1e9); len(n) != 1 {
		t.Fatalf("%d flows end, want the closing one", len(n))
	}
	closing = c.establish(c.open(39*second), 39*second)
	c.table.FromServer(closing, alert, 39*second)

	var order []*Flow
	for f := c.table.Victim(); f != nil; f = c.table.Victim() {
		order = append(order, f)
		c.table.Close(f)
	}
	// In order of how many flows the heavy source had before: 4 to 7, 2 and 3, 1; its first one is among the single ones.
	want := []*Flow{flows[4], flows[5], flows[6], flows[7], flows[2], flows[3], flows[1], flows[0], first, last, closing, old, young}
	if len(order) != len(want) {
		t.Fatalf("%d flows can go, want %d", len(order), len(want))
	}
	for i := range want {
		if order[i] != want[i] {
			t.Errorf("step %d: another flow goes", i)
		}
	}
	if c.table.Any() != busy || c.table.Count(Established) != 1 {
		t.Error("the flow in use is not what is left")
	}
}

func TestRefusals(t *testing.T) {
	at := func(a, b, c, d byte, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{a, b, c, d}), port)
	}
	// fill opens flows until one is refused.
	fill := func(c *clients, from func(i int) netip.AddrPort, then func(*Flow)) (n int, r Reason) {
		for {
			f, r := c.try(from(n), 0)
			if f == nil {
				return n, r
			}
			then(f)
			n++
		}
	}
	leave := func(*Flow) {}
	one := func(i int) netip.AddrPort { return at(192, 0, 2, 1, uint16(i+1)) }
	prefix := func(i int) netip.AddrPort { return at(192, 0, 2, byte(i%200), uint16(i+1)) }
	for name, tc := range map[string]struct {
		limits      Limits
		used        int // flows of others before
		from        func(int) netip.AddrPort
		established bool
		want        int
		reason      Reason
	}{
		"source, half-open, room":    {Limits{Flows: 10000, HalfOpenPerSource: 32}, 0, one, false, 8 * 32, SourceHalfOpen},
		"source, half-open, no room": {Limits{Flows: 10000, HalfOpenPerSource: 32}, 5000, one, false, 32, SourceHalfOpen},
		"prefix, half-open":          {Limits{Flows: 10000, HalfOpenPerSource: 8}, 5000, prefix, false, 64, PrefixHalfOpen},
		"source, room":               {Limits{Flows: 10000, PerSource: 32}, 0, one, true, 8 * 32, SourceFlows},
		"source, no room":            {Limits{Flows: 10000, PerSource: 32}, 5000, one, true, 32, SourceFlows},
		"prefix":                     {Limits{Flows: 10000, PerSource: 8}, 5000, prefix, true, 64, PrefixFlows},
		"half-open":                  {Limits{Flows: 100}, 0, prefix, false, 25, HalfOpenFull},
		"flows":                      {Limits{Flows: 100}, 0, prefix, true, 100, FlowsFull},
	} {
		c := newClients(t, tc.limits)
		for range tc.used {
			c.establish(c.open(0), 0)
		}
		then := leave
		if tc.established {
			then = func(f *Flow) { c.establish(f, 0) }
		}
		if n, r := fill(c, tc.from, then); n != tc.want || r != tc.reason {
			t.Errorf("%s: %d flows, then %v; want %d, %v", name, n, r, tc.want, tc.reason)
		}
		if _, r := c.try(c.stranger(), 0); !tc.reason.Full() && r != Accepted {
			t.Errorf("%s: a stranger is refused, too: %v", name, r)
		}
	}
	c := newClients(t, Limits{Flows: 100})
	c.room.SetMax(10)
	if n, r := fill(c, prefix, func(f *Flow) { c.establish(f, 0) }); n != 10 || r != PoolFull {
		t.Errorf("a pool of 10: %d flows, then %v", n, r)
	}
}

// If one of two workers has used up its share of half-open flows, the other one still accepts clients.
func TestEachTableMayHaveOneHalfOpenFlow(t *testing.T) {
	a := newClients(t, Limits{Flows: 100})
	b := &clients{t: t, room: a.room, table: NewTable(a.table.budget, a.room, usual), next: 1000}
	for range 25 {
		a.open(0)
	}
	if _, r := a.try(a.stranger(), 0); r != HalfOpenFull || a.table.Victim() == nil {
		t.Errorf("the first table: %v, want no room, and a flow to end", r)
	}
	b.open(0)
	if _, r := b.try(b.stranger(), 0); r != HalfOpenFull || b.table.Victim() == nil {
		t.Errorf("the second table, with a flow: %v, want no room, and a flow to end", r)
	}
}

// An attacker who knows how packets are spread over workers (the key of a card's RSS is public) has all that may be half-open at one
// of them. The clients of the other do not end each other's handshakes.
func TestHandshakesOfOneTableLeaveOthersTheirs(t *testing.T) {
	a := newClients(t, Limits{Flows: 4096})
	b := &clients{t: t, room: a.room, table: NewTable(a.table.budget, a.room, usual), next: 100_000}
	for range 1024 {
		a.open(0)
	}
	const most = 1024 / ownShare
	for i := range most {
		if _, r := b.try(b.stranger(), 0); r != Accepted {
			t.Fatalf("handshake %d of %d at the second table: %v", i+1, most, r)
		}
	}
	if _, r := b.try(b.stranger(), 0); r != HalfOpenFull {
		t.Errorf("beyond its share: %v", r)
	}
	if _, r := a.try(a.stranger(), 0); r != HalfOpenFull {
		t.Errorf("the first table: %v", r)
	}
}

// A client's next handshake runs next to its established flow, and replaces it when the client has proved itself.
func TestRivals(t *testing.T) {
	c := newClients(t, Limits{Flows: 100})
	from := c.stranger()
	old := c.establish(c.openFrom(from, 0), 0)
	rival := c.openFrom(from, second)
	if c.table.Lookup(old.Client) != old || old.Rival() != rival || old.Alone() || rival.Alone() || rival.Replaces() != nil {
		t.Fatal("the older flow is not the client's, with a rival")
	}
	for range 2 {
		for _, d := range [][]byte{keyExchange, join(change, sealed), data, alert} { // anybody can send those
			c.table.FromClient(rival, d, second)
			if rival.Replaces() != nil {
				t.Fatalf("a forged %x makes the rival take the flow's place", d)
			}
		}
		c.table.FromServer(rival, flight, second)
		if rival.Replaces() != nil {
			t.Fatal("the server's first flight makes the rival take the flow's place")
		}
	}
	c.table.FromServer(rival, join(change, sealed), second)
	if rival.Replaces() != old {
		t.Fatal("a proved handshake does not replace the flow")
	}
	c.table.Close(old)
	if c.table.Lookup(rival.Client) != rival || !rival.Alone() || rival.Replaces() != nil || c.table.Len() != 1 {
		t.Error("the rival is not the client's flow after the old one has ended")
	}
	again := c.openFrom(from, 2*second)
	c.table.Close(again)
	if c.table.Lookup(rival.Client) != rival || !rival.Alone() {
		t.Error("a rival that ended leaves something")
	}
	if n := c.table.budget.Used(); n != 1 {
		t.Errorf("%d flows count, want 1", n)
	}
}

// Datagrams that anybody can forge in a client's name neither close its flow nor keep a half-open one.
func TestForgedAlertsChangeNothing(t *testing.T) {
	c := newClients(t, Limits{Flows: 100})
	silent, half := c.establish(c.open(0), 0), c.open(0)
	c.table.FromServer(half, flight, 0)
	for s := range int64(30) {
		c.table.FromClient(silent, alert, s*second)
		c.table.FromClient(half, fatal, s*second)
		if n := c.swept(s * second); len(n) != 0 {
			t.Fatalf("at %d s %d flows end", s, len(n))
		}
	}
	if n := c.swept(31 * second); len(n) != 1 || silent.State != Established {
		t.Errorf("%d flows end at 31 s, want the half-open one", len(n))
	}
}

func TestSilenceIsReportedOnce(t *testing.T) {
	c := newClients(t, Limits{Flows: 10})
	silent := func(now int64) bool { return c.table.Sweep(now, func(*Flow, Expiry) { t.Error("a flow ends") }) }
	a := c.open(0)
	c.open(5 * second)
	if silent(3*second) || !silent(4*second) || silent(4*second) {
		t.Error("the silence to one flow is not reported exactly once")
	}
	c.establish(a, second)
	if !silent(9 * second) {
		t.Error("the second flow's silence is not reported")
	}
}

// A flow that the server has refused waits for the next sweep. A guard that takes it over before ends it, and takes all others.
func TestAdoptRefusedFlow(t *testing.T) {
	old, next := newClients(t, Limits{Flows: 10}), newClients(t, Limits{Flows: 10})
	f := old.open(0)
	old.table.FromServer(f, fatal, 0)
	r := f.Record()
	adopted, err := next.table.Adopt(&r, &Upstream{taken: new(atomic.Uint32)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ended := next.swept(0); len(ended) != 1 || ended[adopted] != HandshakeOver {
		t.Errorf("ended: %v", ended)
	}
}
