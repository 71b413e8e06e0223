package sample

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Events reveal each kind of server.
func TestServers(t *testing.T) {
	for name, c := range map[string]struct {
		server func(*server.Server)
		events map[Event]int
	}{
		"own cookie for each source": {func(*server.Server) {}, map[Event]int{Compared: -1, Same: -1, Accepted: -2}},
		"cookies with a clock":       {func(s *server.Server) { s.Lifetime = 1 }, map[Event]int{Compared: -1, Same: -1, Accepted: -2}},
		"keeps state of clients":     {func(s *server.Server) { s.Counts = true }, map[Event]int{Compared: -1, Unrepeated: -1, Accepted: -2}},
		"takes any cookie":           {func(s *server.Server) { s.Trusting = true }, map[Event]int{Compared: -1, Same: -1, Accepted: -2}},
		"silent":                     {func(s *server.Server) { s.Silent = true }, map[Event]int{Unanswered: -1}},
		"without cookies":            {func(s *server.Server) { s.NoCookies = true }, map[Event]int{Wrong: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server.Start(t)
			s.Change(c.server)
			r := run(t, s.Addr(), 6, 2)
			want(t, r, c.events)
			if r.Events[Wrong] != r.Faults[answer.Kind] {
				t.Errorf("%d answers wrong, %d of them by their kind", r.Events[Wrong], r.Faults[answer.Kind])
			}
			if quiet := r.Events[Unanswered] > 0; quiet != (r.Latency.P50 == 0) || r.Latency.P50 > r.Latency.P999 || r.Latency.Max > patience {
				t.Errorf("latency %+v", r.Latency)
			}
		})
	}
}

// A cookie that all clients share is reported, and clients of a server that does not know its own cookies are refused.
func TestSharedAndRefused(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	s.Change(func(s *server.Server) { s.ByPort = false })
	r := run(t, s.Addr(), 6, 0)
	want(t, r, map[Event]int{Compared: -1, Shared: int(r.Events[Clients]) - 1, Same: -1})
}

// How a server reacts to a returned cookie.
func TestReactions(t *testing.T) {
	alert := []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40}
	for name, c := range map[string]struct {
		after  uint16 // the server accepts this message_seq
		say    []byte // answer to a cookie; nil: asks for another
		events map[Event]int
	}{
		"at once":            {1, nil, map[Event]int{Accepted: -1}},
		"asked twice":        {2, nil, map[Event]int{Accepted: -1, AskedTwice: -1}},
		"asked forever":      {9, nil, map[Event]int{Refused: -1}},
		"alert":              {9, alert, map[Event]int{Refused: -1}},
		"unknown datagram":   {9, []byte("?"), map[Event]int{Silent: -1}},
		"a ServerHello, too": {9, serverHello, map[Event]int{Accepted: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cookies := byte(0)
			target := respond(t, func(d []byte, h *hello.ClientHello) []byte {
				seq := hello.SequenceOf(d).Message
				if seq > 0 && c.say != nil {
					return c.say
				}
				if seq >= c.after {
					return serverHello
				}
				cookies++
				return d[:hello.PutHelloVerify(d, []byte{cookies})]
			})
			c.events[Compared], c.events[Changed] = -1, -1
			want(t, run(t, target, 3, 1), c.events)
		})
	}
}

// The datagrams of a client follow RFC 6347 sections 4.1 and 4.2.2: increasing record numbers, message numbers of its
// ClientHellos, one random, the cookie that it got, and a final alert.
func TestHandshakeOfAClient(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
		t.Fatal(err)
	}
	target := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s, err := New(Config{Target: target, Source: loopback(), Rate: 1e-3, Return: 1, Hello: traffic.Captured("gnutls:1")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var random []byte
	b := make([]byte, 2048)
	for i, message := range []uint16{0, 0, 1, 2} {
		n, peer, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatal(err)
		}
		cancel() // a client has started, and runs to its end
		var h hello.ClientHello
		if r := hello.Parse(b[:n], &h); r != hello.OK {
			t.Fatalf("datagram %d: %v", i, r)
		}
		if random == nil {
			random = append(random, h.Random[:]...)
		}
		cookie := []byte{1, 2, 3, byte(max(1, i))}
		if seq := hello.SequenceOf(b[:n]); seq != (hello.Sequence{Record: uint64(i), Message: message}) || string(random) != string(h.Random[:]) {
			t.Errorf("datagram %d: %+v, random %x", i, seq, *h.Random)
		}
		if given := []byte{1, 2, 3, byte(max(1, i-1))}; message > 0 && string(h.Cookie) != string(given) || message == 0 && len(h.Cookie) > 0 {
			t.Errorf("datagram %d: cookie %x, want %x", i, h.Cookie, given)
		}
		answer := b[:hello.PutHelloVerify(b[:n], cookie)]
		if message == 2 {
			answer = serverHello
		}
		if _, err := conn.WriteToUDPAddrPort(answer, peer); err != nil {
			t.Fatal(err)
		}
	}
	n, _, err := conn.ReadFromUDPAddrPort(b)
	if err != nil || !hello.IsAlert(b[:n]) || hello.SequenceOf(append(b[:n], make([]byte, 8)...)).Record <= 3 {
		t.Errorf("in the end: %x, %v", b[:n], err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_, all := s.Take()
	want(t, all, map[Event]int{Compared: 1, Same: 1, Accepted: 1, AskedTwice: 1})
}

// A delay of the server shows in the latency.
func TestLatency(t *testing.T) {
	t.Parallel()
	const think = 20 * time.Millisecond
	target := respond(t, func(d []byte, _ *hello.ClientHello) []byte {
		time.Sleep(think)
		return d[:hello.PutHelloVerify(d, []byte{1})]
	})
	if l := run(t, target, 3, 0).Latency; l.P50 < think*99/100 || l.Answers < 6 {
		t.Errorf("latency %+v of a server that waits for %v", l, think)
	}
}

// The latency ends with the arrival of an answer, not with the read.
func TestArrival(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := dial(netip.MustParseAddr("127.0.0.1"), conn.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var b [room]byte
	if _, _, err := receive(c, b[:]); !errors.Is(err, errNothing) {
		t.Fatalf("before anything was sent: %v", err)
	}
	before := time.Now()
	if _, err := conn.WriteToUDPAddrPort([]byte("answer"), c.Local()); err != nil {
		t.Fatal(err)
	}
	// It may arrive after the send returns, when the machine is busy.
	ready := []unix.PollFd{{Fd: int32(c.FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 10_000); n != 1 {
		t.Fatalf("no answer: %v", err)
	}
	there := time.Now()
	for !time.Now().After(there) { // so that the read is later than the arrival
	}
	d, at, err := receive(c, b[:])
	if err != nil || string(d) != "answer" || at.Before(before.Round(0)) || at.After(there.Round(0)) {
		t.Errorf("%q, %v, at %v, was there from %v to %v", d, err, at, before, there)
	}
}

// Nothing listens: the client fails at once.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	target := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	conn.Close()
	want(t, run(t, target, 3, 1), map[Event]int{Unanswered: -1})
}

func TestTakeIsSinceTheLast(t *testing.T) {
	s := Sample{since: newTally(), ever: newTally()}
	s.count(Clients)
	s.since.faults[answer.Length]++
	_ = s.since.times.RecordValue(1000)
	since, all := s.Take()
	if since != all || since.Events[Clients] != 1 || since.Faults[answer.Length] != 1 || since.Latency.Answers != 1 || since.Latency.P50.Round(time.Millisecond) != time.Millisecond {
		t.Errorf("%+v, %+v", since, all)
	}
	if since, again := s.Take(); since.Events[Clients] != 0 || since.Latency.Answers != 0 || again != all {
		t.Errorf("nothing happened since, but %+v, %+v", since, again)
	}
}

func TestRefusedConfigs(t *testing.T) {
	good := Config{Target: netip.MustParseAddrPort("127.0.0.1:9"), Source: loopback(), Rate: 1, Hello: traffic.Captured("openssl-dtls12:1")}
	for name, change := range map[string]func(*Config){
		"no rate":            func(c *Config) { c.Rate = 0 },
		"no source":          func(c *Config) { c.Source = nil },
		"no ClientHello":     func(c *Config) { c.Hello = []byte("hello") },
		"in fragments":       func(c *Config) { c.Hello = traffic.Captured("openssl-large:1") },
		"not our address":    func(c *Config) { c.Source = func() netip.Addr { return netip.MustParseAddr("192.0.2.1") } },
		"one in less than 0": func(c *Config) { c.Return = -1 },
	} {
		c := good
		change(&c)
		if s, err := New(c); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
