package handoff

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// wire shows what is on a queue by sending it.
type wire struct {
	*udpbatch.Queue
	t    *testing.T
	from *udpbatch.Conn
	to   *net.UDPConn
}

func newWire(t *testing.T) *wire {
	t.Helper()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	from, err := udpbatch.Dial(to.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close(); from.Close() })
	return &wire{udpbatch.NewQueue(relay.PreHandshakeCap), t, from, to}
}

// sent is what was on the queue.
func (w *wire) sent() (list [][]byte) {
	w.t.Helper()
	n := w.Len()
	if sent, err := w.from.Send(w.Queue); err != nil || sent != n {
		w.t.Fatalf("%d of %d sent: %v", sent, n, err)
	}
	for range n {
		b := make([]byte, 1<<13)
		_ = w.to.SetReadDeadline(time.Now().Add(await.Patience))
		m, err := w.to.Read(b)
		if err != nil {
			w.t.Fatal(err)
		}
		list = append(list, b[:m])
	}
	return list
}

// expect checks that these datagrams and no others were on the queue.
func (w *wire) expect(what string, want ...[]byte) {
	w.t.Helper()
	got := w.sent()
	if len(got) != len(want) {
		w.t.Fatalf("%s: %d datagrams, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			w.t.Errorf("%s: datagram %d is\n%x, want\n%x", what, i, got[i], want[i])
		}
	}
}

// second is a client's ClientHello with a cookie.
func second(cookie string, record, message byte) []byte {
	b := hellotest.New()
	b.Cookie, b.MessageSeq = []byte(cookie), uint16(message)
	d := b.Bytes()
	d[10] = record
	return d
}

// asksFirst checks that d is second without its cookie, in a record whose number is higher by behind.
func asksFirst(t *testing.T, d, second []byte, behind int) {
	t.Helper()
	var h, s hello.ClientHello
	if hello.Parse(d, &h) != hello.OK || hello.Parse(second, &s) != hello.OK {
		t.Fatalf("%x is not a ClientHello", d)
	}
	if len(h.Cookie) != 0 || *h.Random != *s.Random || h.Version != s.Version {
		t.Errorf("the guard's ClientHello has cookie %x, version %x, random %x", h.Cookie, h.Version, *h.Random)
	}
	at, of := hello.SequenceOf(d), hello.SequenceOf(second)
	if at.Message != 0 || int(at.Record) != int(of.Record)+behind {
		t.Errorf("the guard's ClientHello is at %+v, the client's at %+v", at, of)
	}
}

// verified is the server's HelloVerifyRequest in a record.
func verified(record byte) []byte {
	q := second("", record, 0)
	return q[:hello.PutHelloVerify(q, []byte("servers"))]
}

// The client has had as many answers as it has asked, and takes no record that bears a number of theirs: the server's flight
// begins after them, however many were lost.
func TestReplayingNumbersOfTheServer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		client, verify byte
		first, want    uint64 // of the server's flight, as it is sent and as the client gets it
	}{
		{1, 0, 1, 1}, {4, 0, 1, 4}, // OpenSSL counts from 0
		{4, 3, 4, 4}, {4, 3, 5, 5}, // GnuTLS goes on from the ClientHello's
	} {
		w, r := newWire(t), new(replaying)
		d := second("guards", c.client, 1)
		r.Client(d, w.Queue)
		r.Verify(verified(c.verify), w.Queue)
		again := second("guards", c.client+1, 1)
		r.Client(again, w.Queue)
		record := func(kind, epoch byte, number uint64, body int) []byte {
			d := append([]byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0}, byte(number>>24), byte(number>>16), byte(number>>8), byte(number), 0, byte(body))
			return append(d, make([]byte, body)...)
		}
		flight := slices.Concat(record(22, 0, c.first, 40), record(22, 0, c.first+1, 0), record(20, 0, c.first+2, 1), record(22, 1, 0, 40))
		want := slices.Concat(record(22, 0, c.want, 40), record(22, 0, c.want+1, 0), record(20, 0, c.want+2, 1), record(22, 1, 0, 40))
		if r.Server(flight); !bytes.Equal(flight, want) {
			t.Errorf("%+v: the client gets\n%x, want\n%x", c, flight, want)
		}
		cut := record(22, 0, c.first, 40)[:20]
		r.Server(cut) // must not panic
		w.sent()
	}
}

// The server sees a ClientHello without a cookie first, then the client's, all fragments of it in their order.
func TestReplaying(t *testing.T) {
	t.Parallel()
	w, r := newWire(t), new(replaying)
	d, rest := second("guards", 1, 1), []byte("the second fragment")
	if v := r.Verify(verified(0), w.Queue); v != relay.Refusal {
		t.Errorf("a HelloVerifyRequest that nobody asked for: %v", v)
	}
	r.Client(d, w.Queue)
	got := w.sent()
	if len(got) != 1 {
		t.Fatalf("%d datagrams at the server, want one", len(got))
	}
	asksFirst(t, got[0], d, -1)
	r.Client(rest, w.Queue)
	w.expect("before the server has answered")
	if v := r.Verify(verified(0), w.Queue); v != relay.Swallow {
		t.Errorf("the server's answer: %v", v)
	}
	w.expect("after it", d, rest)
	r.Client(rest, w.Queue)
	w.expect("a fragment that comes late", rest)
	if v := r.Verify(verified(0), w.Queue); v != relay.Refusal {
		t.Errorf("the server does not take the client's cookie: %v", v)
	}
}

// Each time that the client sends its ClientHello again the server gets both, whatever was lost, and the client's once
// more when it asks for the cookie. No two records bear the same number.
func TestReplayingAgain(t *testing.T) {
	t.Parallel()
	w, r := newWire(t), new(replaying)
	r.Client(second("guards", 1, 1), w.Queue)
	w.sent()
	var last []byte
	for record := byte(2); record < 5; record++ {
		last = second("guards", record, 1)
		r.Client(last, w.Queue)
		got := w.sent()
		if len(got) != 2 || !bytes.Equal(got[1], last) {
			t.Fatalf("%x at the server", got)
		}
		asksFirst(t, got[0], last, laterRecord)
	}
	for i := range 4 { // each of the guard's questions may still be answered
		if v := r.Verify(verified(0), w.Queue); v != relay.Swallow {
			t.Errorf("a late answer: %v", v)
		}
		if i == 0 {
			w.expect("after an answer", last)
		}
	}
	w.expect("after others")
	if v := r.Verify(verified(0), w.Queue); v != relay.Refusal {
		t.Errorf("the server does not take the client's cookie: %v", v)
	}
}

// What a flow holds back is bounded, in bytes and in datagrams.
func TestReplayingHoldsLittle(t *testing.T) {
	t.Parallel()
	first := second("guards", 1, 1)
	for size, most := range map[int]int{100: 1 + holdAtMost(first)/100, 2: relay.PreHandshakeCap - 1} { // the ClientHello is one
		w, r := newWire(t), new(replaying)
		r.Client(first, w.Queue)
		w.sent()
		for range 2 * relay.PreHandshakeCap {
			r.Client(make([]byte, size), w.Queue)
		}
		r.Verify(verified(0), w.Queue)
		if got := len(w.sent()); got > most || got < most-1 {
			t.Errorf("%d datagrams of %d bytes were held, want %d", got, size, most)
		}
	}
}

// The longest ClientHello is held in fragments of any size that clients fall back to.
func TestReplayingHoldsLongHellos(t *testing.T) {
	t.Parallel()
	for _, size := range []int{231, 1400} {
		b := hellotest.New()
		b.Cookie, b.MessageSeq = []byte("guards"), 1
		b.Tail = append(b.Tail, append([]byte{16_000 >> 8, 16_000 & 255}, make([]byte, 16_000)...)...)
		fragments := b.Fragments(size)
		w, r := newWire(t), new(replaying)
		r.Client(fragments[0], w.Queue)
		w.sent() // a ClientHello of the guard's own
		for _, d := range fragments[1:] {
			r.Client(d, w.Queue)
		}
		r.Verify(verified(0), w.Queue)
		w.expect(fmt.Sprintf("in fragments of %d bytes", size), fragments...)
	}
}

// The client gets the server's HelloVerifyRequest with the numbers of its own ClientHello, once.
func TestDoubling(t *testing.T) {
	t.Parallel()
	w, p := newWire(t), new(doubling)
	d := second("guards", 5, 1)
	p.Client(d, w.Queue)
	w.expect("the client's", d)
	verify := func() []byte {
		q := second("", 0, 0)
		return q[:hello.PutHelloVerify(q, []byte("servers"))]
	}
	for range 2 { // a lost one comes again
		q := verify()
		if v := p.Verify(q, w.Queue); v != relay.Deliver {
			t.Fatalf("the server's question: %v", v)
		}
		if c, ok := hello.HelloVerifyCookie(q); !ok || string(c) != "servers" || hello.SequenceOf(q) != hello.SequenceOf(d) {
			t.Errorf("the client gets %x", q)
		}
	}
	third := second("servers", 6, 2)
	p.Client(third, w.Queue)
	w.expect("with the server's cookie", third)
	if v := p.Verify(verify(), w.Queue); v != relay.Swallow {
		t.Errorf("a late copy: %v", v)
	}
}
