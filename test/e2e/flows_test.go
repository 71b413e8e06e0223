package e2e

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

const anyPort = "127.0.0.1:0"

// established runs a handshake of r; it returns r's address as the server sees it.
func established(r *raw, s *backend, random byte) netip.AddrPort {
	r.t.Helper()
	upstream := opened(r, s, random)
	finish(r, s, upstream)
	return upstream
}

// finish sends both sides' last flights of a handshake.
func finish(r *raw, s *backend, upstream netip.AddrPort) {
	r.t.Helper()
	r.send(bytes.Join([][]byte{record(22, 0, "\x10"), record(20, 0, "\x01"), record(22, 1, "finished")}, nil))
	s.next(r.t)
	last := append(record(20, 0, "\x01"), record(22, 1, "server finished")...)
	s.send(r.t, upstream, last)
	if d := r.receive(patience); !bytes.Equal(d, last) {
		r.t.Fatalf("the client got %x, want the server's Finished", d)
	}
}

// opened opens a flow for r and makes the server answer; it returns r's address as the server sees it.
func opened(r *raw, s *backend, random byte) netip.AddrPort {
	r.t.Helper()
	d := r.open(randomly(random))
	got := s.next(r.t)
	if !bytes.Equal(got.Data, d) {
		r.t.Fatalf("the server got %x, want the second ClientHello unchanged: %x", got.Data, d)
	}
	if answer := r.receive(patience); !bytes.Equal(answer, serverHello) {
		r.t.Fatalf("the client got %x, want the server's answer", answer)
	}
	return got.From
}

// TestReturnOnTheSamePort: a client that lost its association returns from the same address and port. Its old
// association lives until the new cookie is verified (RFC 6347 section 4.2.8).
func TestReturnOnTheSamePort(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr())
	r := dialRaw(t, anyPort, g.addr)
	old := established(r, s, 1)

	cookie := r.cookieFor(randomly(2))
	forged := bytes.Clone(cookie)
	forged[0] ^= 1
	if _, ok := hello.HelloVerifyCookie(r.ask(second(randomly(2), forged))); !ok {
		t.Error("a forged cookie was not answered with a HelloVerifyRequest")
	}
	r.send(record(23, 1, "old"))
	if got := s.next(t); got.From != old || !bytes.Equal(got.Data, record(23, 1, "old")) {
		t.Errorf("the old association's record reached the server as %x from %v", got.Data, got.From)
	}
	s.send(t, old, record(23, 1, "to the old"))
	if d := r.receive(patience); !bytes.Equal(d, record(23, 1, "to the old")) {
		t.Errorf("client got %x from its old association", d)
	}

	r.send(second(randomly(2), cookie))
	fresh := s.next(t)
	if fresh.From == old {
		t.Error("the new association has the old one's port, so the server cannot tell them apart")
	}
	if d := r.receive(patience); !bytes.Equal(d, serverHello) {
		t.Fatalf("client got %x, want the server's answer", d)
	}
	for i := range 3 { // anybody could send these from the client's address: the old association lives
		r.send(record(22, 1, "whose?"))
		if a, b := s.next(t).From, s.next(t).From; a == b || (a != old && a != fresh.From) || (b != old && b != fresh.From) {
			t.Errorf("record %d reached %v and %v, want both associations", i, a, b)
		}
		s.send(t, old, record(23, 1, "to the old"))
		if d := r.receive(patience); !bytes.Equal(d, record(23, 1, "to the old")) {
			t.Errorf("client got %x from its old association", d)
		}
	}
	finish(r, s, fresh.From)
	r.send(record(23, 1, "new"))
	if got := s.next(t); got.From != fresh.From {
		t.Errorf("the new association's record came from %v, want %v", got.From, fresh.From)
	}
	if n := g.Flows(); n != 1 {
		t.Errorf("%d flows, want the new one", n)
	}
}

// TestConnectionIDs: records with a connection ID are relayed if their flow is known, and dropped otherwise.
func TestConnectionIDs(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr())
	known, stranger := dialRaw(t, anyPort, g.addr), dialRaw(t, anyPort, g.addr)
	upstream := established(known, s, 1)
	stranger.send(cidRecord("from nobody"))
	g.waitCount(t, metrics.Dropped(hello.Encrypted), 1)
	known.send(cidRecord("from a client"))
	if got := s.next(t); got.From != upstream || !bytes.Equal(got.Data, cidRecord("from a client")) {
		t.Errorf("server got %x from %v", got.Data, got.From)
	}
	s.send(t, upstream, cidRecord("from the server"))
	if d := known.receive(patience); !bytes.Equal(d, cidRecord("from the server")) {
		t.Errorf("client got %x", d)
	}
	if n := s.relayed(); n != 0 {
		t.Errorf("%d datagrams of unverified clients reached the server", n)
	}
}

// TestEviction: with --max-flows reached, a new client evicts a half-open flow, never one in use.
func TestEviction(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr(), func(c *frontend.Config) { c.MaxFlows, c.Workers = 4, 1 })
	var clients []*raw
	for i := range byte(3) {
		c := dialRaw(t, anyPort, g.addr)
		established(c, s, i)
		clients = append(clients, c)
	}
	unfinished := dialRaw(t, anyPort, g.addr)
	opened(unfinished, s, 8)
	newest := dialRaw(t, anyPort, g.addr)
	established(newest, s, 9)
	if n := g.Flows(); n != 4 {
		t.Errorf("%d flows, want 4", n)
	}
	unfinished.send(record(22, 1, "too late"))
	g.waitCount(t, metrics.Dropped(hello.Encrypted), 1)
	late := dialRaw(t, anyPort, g.addr)
	late.open(randomly(10))
	g.waitCount(t, metrics.NoFlow(relay.FlowsFull), 1)
	for _, c := range append(clients, newest) {
		c.send(record(23, 1, "still here"))
		s.next(t)
	}
	if n := g.count(metrics.Evicted(relay.FlowsFull)); n != 1 {
		t.Errorf("%d flows are evicted, want the half-open one", n)
	}
}

// TestIdleTimeout: a silent flow ends, a flow in use stays.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr(), func(c *frontend.Config) { c.IdleTimeout = 5 * time.Second })
	silent, busy := dialRaw(t, anyPort, g.addr), dialRaw(t, anyPort, g.addr)
	established(silent, s, 1)
	established(busy, s, 2)
	eventually(t, "the silent flow has ended", func() bool {
		busy.send(record(23, 1, "busy"))
		s.next(t)
		return g.Flows() == 1
	})
	silent.send(record(23, 1, "too late"))
	g.waitCount(t, metrics.Dropped(hello.Encrypted), 1)
}

// TestClosing: after the server's close_notify, which is an encrypted alert, a flow ends long before the idle timeout. A
// client's alert proves nothing: anybody can send it.
func TestClosing(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr(), func(c *frontend.Config) { c.IdleTimeout = time.Hour })
	open, closing := dialRaw(t, anyPort, g.addr), dialRaw(t, anyPort, g.addr)
	established(open, s, 1)
	open.send(record(21, 1, "forged"))
	s.next(t)
	upstream := established(closing, s, 2)
	closing.send(record(21, 1, "close_notify"))
	s.next(t)
	s.send(t, upstream, record(21, 1, "close_notify"))
	if d := closing.receive(patience); !bytes.Equal(d, record(21, 1, "close_notify")) {
		t.Errorf("client got %x, want the server's close_notify", d)
	}
	eventually(t, "the closed flow has ended", func() bool { return g.Flows() == 1 })
	open.send(record(23, 1, "still open"))
	s.next(t)
	if n := g.Flows(); n != 1 {
		t.Errorf("%d flows, want the one with a forged alert", n)
	}
}

// TestRates: a verified source may start a limited number of handshakes, and so may all sources together.
func TestRates(t *testing.T) {
	t.Parallel()
	const burst = 5
	slow := limit.Rate{PerSecond: 0.001, Burst: burst} // no second token within the test
	for name, c := range map[string]struct {
		change  func(c *frontend.Config)
		event   metrics.Event
		sources []string
		through int
	}{
		"one source": {func(c *frontend.Config) { c.HelloRate = slow }, metrics.SourceRate, []string{"127.0.0.2:0"}, burst},
		// Each prefix has a share of one token; the rest is for prefixes that had none.
		"all sources": {func(c *frontend.Config) { c.BackendHelloRate = slow }, metrics.ServiceRate, []string{"127.0.0.2:0", "127.0.1.3:0", "127.0.2.4:0"}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startBackend(t, anyPort, byAddress)
			g := startGuard(t, s.addr(), c.change)
			const tries = burst + 4
			for i := range tries {
				dialRaw(t, c.sources[i%len(c.sources)], g.addr).open(randomly(byte(i)))
			}
			g.waitCount(t, c.event, uint64(tries-c.through))
			if n := g.count(metrics.Verified); n != uint64(c.through) {
				t.Errorf("%d of %d handshakes went through, want %d", n, tries, c.through)
			}
			if name == "one source" { // another source is not delayed by it
				established(dialRaw(t, "127.0.0.9:0", g.addr), drained(t, s, burst), 99)
			}
		})
	}
}

// drained receives n relayed datagrams from s.
func drained(t *testing.T, s *backend, n int) *backend {
	for range n {
		s.next(t)
	}
	return s
}

// TestWildcard: bound to every address, the guard answers from the address that was asked, over both families.
func TestWildcard(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr(), func(c *frontend.Config) {
		c.Services[0].Listen = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	})
	for i, host := range []string{"127.0.0.1", "127.0.0.77", "::1"} {
		r := dialRaw(t, netip.AddrPortFrom(netip.MustParseAddr(host), 0).String(), address(host, g.addr.Port()))
		established(r, s, byte(i))
	}
}
