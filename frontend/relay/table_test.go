package relay

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

const second = int64(time.Second)

// client opens flows from clients that are as real as loopback: their routes come from datagrams received.
type clients struct {
	t     *testing.T
	conn  *udpbatch.Conn
	batch *udpbatch.Batch
	table *Table
}

func newClients(t *testing.T, quota *Quota, idle time.Duration) *clients {
	conn, err := udpbatch.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpbatch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := udpbatch.NewBatch(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); batch.Close() })
	return &clients{t, conn, batch, NewTable(quota, idle)}
}

func (c *clients) open(now int64) *Flow {
	c.t.Helper()
	from, err := udpbatch.Dial(c.conn.Local())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { from.Close() })
	q := udpbatch.NewQueue(1)
	q.Add([]byte("x"), nil)
	if _, err := from.Send(q); err != nil {
		c.t.Fatal(err)
	}
	for c.batch.Reset(); c.batch.Len() == 0; {
		if _, err := c.conn.Recv(c.batch); err != nil {
			c.t.Fatal(err)
		}
	}
	port, err := OpenUpstream(c.conn.Local(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	h := hello.ClientHello{Random: &[32]byte{1}, Cookie: []byte("cookie")}
	return c.table.Open(c.batch.Route(0), port, &h, now)
}

func TestFlowsAreFoundUntilClosed(t *testing.T) {
	c := newClients(t, NewQuota(10), time.Minute)
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
	c := newClients(t, NewQuota(10), time.Minute)
	opening, established, closing := c.open(0), c.open(0), c.open(0)
	c.table.Touch(established, Established, 0)
	c.table.Touch(closing, Closing, 0)
	expired := func(now int64) map[*Flow]bool {
		m := make(map[*Flow]bool)
		for f := c.table.Expired(now); f != nil; f = c.table.Expired(now) {
			m[f] = true
			c.table.Close(f)
		}
		return m
	}
	if m := expired(10 * second); len(m) != 0 {
		t.Errorf("%d flows expired at 10s", len(m))
	}
	if m := expired(11 * second); len(m) != 1 || !m[closing] {
		t.Errorf("at 11s: %v", m)
	}
	if m := expired(31 * second); len(m) != 1 || !m[opening] {
		t.Errorf("at 31s: %v", m)
	}
	c.table.Touch(established, Established, 50*second)
	if m := expired(110 * second); len(m) != 0 {
		t.Errorf("expired although touched: %v", m)
	}
	if m := expired(111 * second); !m[established] {
		t.Errorf("at 111s: %v", m)
	}
}

func TestStalestGoesFirst(t *testing.T) {
	quota := NewQuota(4)
	c := newClients(t, quota, time.Minute)
	old, young, opening, closing := c.open(0), c.open(1), c.open(2), c.open(3)
	c.table.Touch(old, Established, 4)
	c.table.Touch(young, Established, 5)
	c.table.Touch(closing, Closing, 6)
	if !c.table.Full() || quota.Used() != 4 {
		t.Fatal("4 of 4 flows are not full")
	}
	for i, want := range []*Flow{closing, opening, old, young} {
		if got := c.table.Stalest(); got != want {
			t.Errorf("step %d: another flow goes", i)
		}
		c.table.Close(want)
	}
	if c.table.Stalest() != nil || c.table.Full() || quota.Used() != 0 {
		t.Error("flows are left")
	}
}

func TestSilenceIsReportedOnce(t *testing.T) {
	c := newClients(t, NewQuota(10), time.Minute)
	a := c.open(0)
	c.open(5 * second)
	if c.table.Silent(0) || !c.table.Silent(1*second) || c.table.Silent(1*second) {
		t.Error("the silence to one flow is not reported exactly once")
	}
	c.table.Touch(a, Established, second)
	if !c.table.Silent(6 * second) {
		t.Error("the second flow's silence is not reported")
	}
}

func TestPooledPortIsTakenOnce(t *testing.T) {
	c := newClients(t, NewQuota(1), time.Minute)
	p, err := OpenUpstream(c.conn.Local(), new(atomic.Uint32))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !p.Acquire() || p.Acquire() || p.Free() {
		t.Error("taken twice")
	}
	p.Release()
	if !p.Free() || !p.Acquire() {
		t.Error("not free after release")
	}
}
