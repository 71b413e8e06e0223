package handoff

import (
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// whole is newHello with the rest of a ClientHello.
func whole(t *testing.T, port uint16) Hello {
	t.Helper()
	h := newHello(port)
	d := hellotest.New()
	d.Random[0], d.Random[1] = byte(port>>8), byte(port)
	if r := hello.Parse(d.Bytes(), &h.ClientHello); r != hello.OK {
		t.Fatal(r)
	}
	h.Binding.Random = h.Random
	return h
}

// natives are the native modes, for servers in front of which the guard is a proxy and for those that it protects
// inline.
func natives(t *testing.T, pool, size int) (proxy, inline map[Mode]Verifier) {
	t.Helper()
	s := server.Start(t)
	proxy, inline = make(map[Mode]Verifier), make(map[Mode]Verifier)
	var opening sync.WaitGroup
	var mu sync.Mutex
	for kind := range modeLen {
		if !kind.Native() {
			continue
		}
		opening.Go(func() {
			b, err := openBackend(t, s, kind, pool)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			proxy[kind], inline[kind] = b.NewVerifier(size), NewInline(Fit{Mode: kind}, Config{Server: s.Addr(), Cookies: cookie.Measured()}, size)
		})
	}
	opening.Wait()
	if len(proxy) != 4 {
		t.Fatalf("%d native modes", len(proxy))
	}
	return proxy, inline
}

// The cookie that was given is accepted, from that client alone, and outlives one rotation.
func TestNativeVerifies(t *testing.T) {
	t.Parallel()
	const pool = 64
	proxy, inline := natives(t, pool, 4)
	check := func(t *testing.T, m Verifier, most int) {
		k := keyring(t, 'a')
		c := answer(t, m, k, whole(t, 1000))
		v := verdict(m, k, whole(t, 1000), c)
		if !v.Verified || v.Place.Given() == (most == 0) {
			t.Fatalf("its own cookie gives %+v", v)
		}
		if v := verdict(m, k, whole(t, 1000), append([]byte{^c[0]}, c[1:]...)); v.Verified || v.Length == 0 {
			t.Errorf("a wrong cookie gives %+v", v)
		}
		if !verdict(m, keyring(t, 'a', 'b'), whole(t, 1000), c).Verified {
			t.Error("refused after one rotation")
		}
		if v := verdict(m, keyring(t, 'a', 'b', 'c'), whole(t, 1000), c); v.Verified || v.Length == 0 {
			t.Errorf("after two rotations got %+v", v)
		}
		accepted := 0
		for port := range uint16(500) {
			h := whole(t, 1000)
			h.Binding.SourcePort = 2000 + port
			if verdict(m, k, h, c).Verified {
				accepted++
			}
		}
		if accepted > most {
			t.Errorf("cookie of another client accepted %d of 500 times", accepted)
		}
	}
	// In a proxy one client in 64 is mapped to the same port: 8 of 500 expected, 30 is 8 deviations off.
	for kind, m := range proxy {
		t.Run(kind.String()+" proxy", func(t *testing.T) { check(t, m, 30) })
	}
	for kind, m := range inline {
		t.Run(kind.String()+" inline", func(t *testing.T) { check(t, m, 0) })
	}
}

// In a proxy the cookie is the one for the port that the verdict names, because that is whom the server sees.
func TestNativeSeesThePort(t *testing.T) {
	t.Parallel()
	proxy, inline := natives(t, 16, 1)
	k := keyring(t, 'a')
	for kind, m := range proxy {
		c := answer(t, m, k, whole(t, 7))
		v := verdict(m, k, whole(t, 7), c)
		if !v.Verified {
			t.Fatalf("%v: %+v", kind, v)
		}
		seen := whole(t, 7)
		up := take(t, &v)
		seen.Binding.Source, seen.Binding.SourcePort = up.Local().Addr().As16(), up.Local().Port()
		up.Release()
		seen.Binding.DestinationPort = m.(*following).backend.Server().Port()
		if !verdict(inline[kind], k, seen, c).Verified {
			t.Errorf("%v: cookie %x is not the one of port %v", kind, c, up.Local())
		}
	}
}

// Clients that are mapped to a port in use get the next free one; when none is left, nothing.
func TestNativeResolvesCollisions(t *testing.T) {
	t.Parallel()
	proxy, _ := natives(t, 8, 1)
	m, k := proxy[NativeQt], keyring(t, 'a')
	for i := range uint16(Entries(8)) {
		v := verdict(m, k, whole(t, i), answer(t, m, k, whole(t, i)))
		up := take(t, &v)
		if up == nil {
			t.Fatalf("client %d: %+v", i, v)
		}
		defer up.Release()
	}
	if v := verdict(m, k, whole(t, 100), nil); v.Length != 0 || v.Verified {
		t.Errorf("with all ports in use got %+v", v)
	}
}

// A ClientHello whose first fragment ends before the compression methods has no cookie of wolfSSL's yet.
func TestNativeNeedsTheFirstFragment(t *testing.T) {
	t.Parallel()
	_, inline := natives(t, 1, 1)
	d := hellotest.New()
	d.FragmentLength = 2 + 32 + 2 + 2 // ends after the length of the suites
	h := newHello(1)
	if r := hello.Parse(d.Bytes(), &h.ClientHello); r != hello.OK {
		t.Fatal(r)
	}
	for kind, m := range inline {
		if v := verdict(m, keyring(t, 'a'), h, nil); v.Verified || (v.Length == 0) != (kind == NativeWolfSSL) {
			t.Errorf("%v gives %+v", kind, v)
		}
	}
}

func TestNativeDoesNotAllocate(t *testing.T) {
	proxy, inline := natives(t, 64, 8)
	k := keyring(t, 'a', 'b')
	hs := make([]Hello, 8)
	for i := range hs {
		hs[i] = whole(t, uint16(i))
		hs[i].Cookie = make([]byte, 16*(i%3))
	}
	for _, modes := range []map[Mode]Verifier{proxy, inline} {
		for kind, m := range modes {
			if n := testing.AllocsPerRun(50, func() { m.Verify(k, hs) }); n != 0 {
				t.Errorf("%v: %v allocations per batch", kind, n)
			}
		}
	}
}
