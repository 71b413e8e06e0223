package handoff

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func TestAutoFindsTheMode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*server.Server)
		want   Mode
		why    string
	}{
		{"cookie of address and port", func(*server.Server) {}, Harvest, ""},
		{"any cookie", func(s *server.Server) { s.Trusting = true }, Trust, ""},
		{"any cookie, bound to the random", func(s *server.Server) { s.Trusting, s.ByRandom = true, true }, Trust, ""},
		{"any cookie, after a hello", func(s *server.Server) { s.Trusting, s.Counts = true, true }, Replay, ""},
		{"cookie of the random", func(s *server.Server) { s.ByRandom = true }, DoubleHVR, ""},
		{"cookie without the port", func(s *server.Server) { s.ByPort = false }, DoubleHVR, ""},
		{"cookie of 40", func(s *server.Server) { s.Length = 40 }, Harvest, ""},
		{"cookie of the connection", func(s *server.Server) { s.Counts, s.PerConnection = true, true }, Harvest, ""},
		{"no cookies", func(s *server.Server) { s.NoCookies = true }, Reset, "without asking for a cookie"},
		{"DTLS 1.3", func(s *server.Server) { s.DTLS13 = true }, Reset, "DTLS 1.3"},
		{"any cookie and DTLS 1.3", func(s *server.Server) { s.Trusting, s.DTLS13 = true, true }, Reset, "DTLS 1.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := server.Start(t)
			s.Change(c.change)
			b, err := openBackend(t, s, Auto, 8)
			if err != nil {
				t.Fatal(err)
			}
			if st := b.Status(); b.Mode() != c.want || !strings.Contains(st.Why, c.why) {
				t.Errorf("mode %v, because %q; want %v, %q", b.Mode(), st.Why, c.want, c.why)
			}
		})
	}
}

// The mode says why no other one fits. By a virtual clock, because finding that out takes many seconds.
func TestAutoSaysWhyNothingFits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		model server.Model
		why   string
	}{
		{server.Model{Name: "cookie of the random, once", ByPort: true, ByHello: true, Once: true}, "depend on more than"},
		{server.Model{Name: "cookie without the port, once", Once: true}, "do not depend on the client's port"},
		{server.Model{Name: "cookie of 49, once", ByPort: true, Length: 49, Once: true}, "more than the 48"},
		{server.Model{Name: "cookie of the random, after a hello", ByPort: true, ByHello: true, Counts: true}, "depend on more than"},
	} {
		t.Run(c.model.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := c.model
				m.ByAddress, m.Random, m.Begin = true, rand.New(rand.NewPCG(1, 1)), time.Now()
				p, err := probed(t, &m)
				if err != nil {
					t.Fatal(err)
				}
				if why := modes[p.mode()].why(&p); p.mode() != Reset || !strings.Contains(why, c.why) {
					t.Errorf("mode %v, because %q; want %v, %q", p.mode(), why, Reset, c.why)
				}
			})
		})
	}
}

func TestSilentBackendIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := probed(t, &server.Model{Only: netip.MustParseAddr("192.0.2.1"), Random: rand.New(rand.NewPCG(1, 1))}) // answers one address, which does not ask
		if err == nil || !strings.Contains(hint.Of(noAnswer(err)), "start the server before") {
			t.Errorf("error %v", err)
		}
	})
}

// The modes that issue the guard's own cookies follow --cookie-mac, but native-hmac, whose cookies the server computes.
func TestCookieMAC(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	s.Change(func(s *server.Server) { s.Trusting = true })
	k := keyring(t, 'a')
	for _, c := range []struct {
		mode   Mode
		mac    cookie.MAC
		length int
	}{
		{Trust, cookie.HMACSHA256, 32}, {Trust, cookie.SipHash, 16}, {Replay, cookie.SipHash, 16}, {DoubleHVR, cookie.SipHash, 16}, {NativeHMAC, cookie.SipHash, 32},
	} {
		b, err := Open(t.Context(), Config{Server: s.Addr(), Mode: c.mode, MAC: c.mac, Pool: 8, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(answer(t, b.NewVerifier(1), k, newHello(1))); n != c.length {
			t.Errorf("%v, %v: a cookie of %d bytes, want %d", c.mode, c.mac, n, c.length)
		}
		b.Close()
		inline := NewInline(Fit{Mode: c.mode}, Config{Server: s.Addr(), MAC: c.mac, Cookies: cookie.Measured()}, 1)
		if n := len(answer(t, inline, k, newHello(1))); n != c.length {
			t.Errorf("%v, %v, inline: a cookie of %d bytes, want %d", c.mode, c.mac, n, c.length)
		}
	}
}

// Both modes: the cookie that was given is accepted, from that client alone, and outlives one rotation.
func TestModesVerify(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Auto, 64)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Ready() {
		t.Fatal("not ready after Open")
	}
	for name, m := range map[string]Verifier{
		"harvest": b.NewVerifier(4), "trust": NewTrust(cookie.Measured(), 4), "trust, format v2": newOwn(cookie.SipHash, cookie.Measured(), 4),
	} {
		t.Run(name, func(t *testing.T) {
			k := keyring(t, 'a')
			c := answer(t, m, k, newHello(1000))
			if !verdict(m, k, newHello(1000), c).Verified {
				t.Error("its own cookie is refused")
			}
			if v := verdict(m, k, newHello(1000), append([]byte{c[0] ^ 1}, c[1:]...)); v.Verified || v.Length == 0 {
				t.Errorf("a wrong cookie gives %+v", v)
			}
			if v := verdict(m, keyring(t, 'a', 'b'), newHello(1000), c); !v.Verified {
				t.Error("refused after one rotation")
			}
			if v := verdict(m, keyring(t, 'a', 'b', 'c'), newHello(1000), c); v.Verified || v.Length == 0 {
				t.Errorf("after two rotations got %+v", v)
			}
			accepted := 0
			for port := range uint16(500) {
				if verdict(m, k, newHello(2000+port), c).Verified {
					accepted++
				}
			}
			// harvest: one client in 64 is mapped to the same port: 8 of 500 expected, 30 is 8 deviations off.
			if most := map[string]int{"harvest": 30, "trust": 0}[name]; accepted > most {
				t.Errorf("cookie of another client accepted %d of 500 times", accepted)
			}
		})
	}
}

// A harvested cookie is the server's own for the port that the verdict names, however long it is.
func TestHarvestedCookieIsTheServers(t *testing.T) {
	t.Parallel()
	for _, length := range []int{8, 20, 32, 33, 40, hello.MaxCookie} {
		t.Run(strconv.Itoa(length), func(t *testing.T) {
			t.Parallel()
			s := server.Start(t)
			s.Change(func(s *server.Server) { s.Length = length })
			b, err := openBackend(t, s, Harvest, 16)
			if err != nil {
				t.Fatal(err)
			}
			m, k := b.NewVerifier(1), keyring(t, 'a')
			c := answer(t, m, k, newHello(7))
			if v := verdict(m, k, newHello(7), append(c[:length-1:length-1], ^c[length-1])); v.Verified {
				t.Error("a cookie with a wrong end is taken")
			}
			v := verdict(m, k, newHello(7), c)
			up := take(t, &v)
			if up == nil {
				t.Fatalf("got %+v", v)
			}
			defer up.Release()
			if !accepted(t, b, up, &hello.Probe{Cookie: c, MessageSeq: 1}, acceptTime) {
				t.Error("the server refuses the cookie")
			}
		})
	}
}

// Clients that are mapped to a port in use get the next free one; when none is left, nothing.
func TestHarvestResolvesCollisions(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 8)
	if err != nil {
		t.Fatal(err)
	}
	m, k := b.NewVerifier(1), keyring(t, 'a')
	for i := range uint16(len(b.pool().entries)) {
		v := verdict(m, k, newHello(i), answer(t, m, k, newHello(i)))
		up := take(t, &v)
		if up == nil {
			t.Fatalf("client %d: %+v", i, v)
		}
		defer up.Release()
	}
	if v := verdict(m, k, newHello(100), nil); v.Length != 0 || v.Verified {
		t.Errorf("with all ports in use got %+v", v)
	}
}

// A server that still has an association with one of the pool's ports is silent on it; the others serve.
func TestSilentPortIsSpared(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 32)
	if err != nil {
		t.Fatal(err)
	}
	s.Change(func(s *server.Server) { s.Deaf = b.pool().seen(3).Port })
	b.forget()
	if b.Ready() {
		t.Error("ready without cookies")
	}
	all := len(b.pool().entries)
	if b.look(t.Context(), toTheEnd); !b.Ready() || b.Status().Known != all-1 {
		t.Errorf("ready %v with %d of %d cookies known", b.Ready(), b.Status().Known, all)
	}
}

func TestVerifiersDoNotAllocate(t *testing.T) {
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 64)
	if err != nil {
		t.Fatal(err)
	}
	k := keyring(t, 'a', 'b')
	for name, m := range map[string]Verifier{
		"harvest": b.NewVerifier(8), "trust": NewTrust(cookie.Measured(), 8), "trust, format v2": newOwn(cookie.SipHash, cookie.Measured(), 8),
	} {
		hs := make([]Hello, 8)
		for i := range hs {
			hs[i] = newHello(uint16(i))
			hs[i].Cookie = make([]byte, 20+12*(i%2))
		}
		if n := testing.AllocsPerRun(50, func() { m.Verify(k, hs) }); n != 0 {
			t.Errorf("%s: %v allocations per batch", name, n)
		}
	}
}
