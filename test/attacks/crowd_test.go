package attacks

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// crowd is many clients, each with an address of its own, that share one socket, since there are fewer files than clients.
type crowd struct {
	conn    *udpbatch.Conn
	in      *udpbatch.Batch
	queue   *udpbatch.Queue
	members []*member
}

type member struct {
	addr          netip.Addr
	route         udpbatch.Route
	hello         *hellotest.Builder
	first, second []byte
	line          []byte
}

const crowdBatch = 64

func newCrowd(t *testing.T, n int, to netip.AddrPort) *crowd {
	t.Helper()
	conn, err := udpbatch.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), udpbatch.Options{ReceiveBuffer: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	in, err := udpbatch.NewBatch(crowdBatch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	c := &crowd{conn: conn, in: in, queue: udpbatch.NewQueue(crowdBatch)}
	for i := range n {
		m := &member{addr: source(i), route: udpbatch.NewRoute(to), hello: newHello()}
		m.route.From(m.addr.As16())
		m.first = m.hello.Bytes()
		c.members = append(c.members, m)
	}
	return c
}

// connect runs the members' handshakes and returns how many finish. On a HelloVerifyRequest with another cookie a member starts over,
// a few times at most.
func (c *crowd) connect(members []*member) (n int) {
	for range 4 {
		var again, flown []*member
		first := c.round(members, func(m *member) []byte { return m.first }, func(m *member, d []byte) bool { return m.prove(d) })
		c.round(first, func(m *member) []byte { return m.second }, func(m *member, d []byte) bool {
			switch {
			case bytes.Equal(d, serverFlight):
				flown = append(flown, m)
			case m.another(d) && m.prove(d):
				again = append(again, m)
			default:
				return false
			}
			return true
		})
		n += len(c.round(flown, func(*member) []byte { return clientFlight }, func(_ *member, d []byte) bool { return bytes.Equal(d, serverDone) }))
		members = again
	}
	return n
}

// prove makes the second ClientHello if d is a HelloVerifyRequest.
func (m *member) prove(d []byte) bool {
	cookie, ok := hello.HelloVerifyCookie(d)
	if ok {
		m.hello.Cookie, m.hello.MessageSeq, m.hello.RecordSeq = bytes.Clone(cookie), 1, 1
		m.second = m.hello.Bytes()
	}
	return ok
}

// another reports whether d is a HelloVerifyRequest with another cookie than the previous: not a late answer to a retransmission.
func (m *member) another(d []byte) bool {
	cookie, ok := hello.HelloVerifyCookie(d)
	return ok && !bytes.Equal(cookie, m.hello.Cookie)
}

// living counts the members whose application record comes back.
func (c *crowd) living(members []*member) int {
	for i, m := range members {
		m.line = record(23, 1, binary.BigEndian.AppendUint64(nil, uint64(i))...)
	}
	return len(c.round(members, func(m *member) []byte { return m.line }, func(m *member, d []byte) bool { return bytes.Equal(d, m.line) }))
}

// round has each member send, and repeat every second, until take accepts an answer; it returns the members that got one.
func (c *crowd) round(members []*member, send func(*member) []byte, take func(*member, []byte) bool) (done []*member) {
	waiting := make(map[netip.Addr]*member, len(members))
	for _, m := range members {
		waiting[m.addr] = m
	}
	receive := func() (n int) {
		c.in.Reset()
		n, _ = c.conn.Recv(c.in)
		for i := range n {
			local, _ := c.in.Route(i).Local()
			a := netip.AddrFrom16(local).Unmap()
			if m := waiting[a]; m != nil && take(m, c.in.Datagram(i)) {
				done = append(done, m)
				delete(waiting, a)
			}
		}
		return n
	}
	for end := time.Now().Add(patience); len(waiting) > 0 && time.Now().Before(end); {
		again := time.Now().Add(time.Second)
		for _, m := range waiting {
			if c.queue.Add(send(m), &m.route); c.queue.Len() == crowdBatch {
				_, _ = c.conn.Send(c.queue)
			}
		}
		_, _ = c.conn.Send(c.queue)
		for len(waiting) > 0 && time.Now().Before(again) {
			if receive() == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	return done
}
