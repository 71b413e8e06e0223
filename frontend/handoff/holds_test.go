package handoff

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
)

// anotherProgram has the port of an entry.
func anotherProgram(t *testing.T, p *Pool, entry int) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(p.sources.at(entry)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// entryOf is the entry that a client is mapped to.
func entryOf(m Verifier, p *Pool, k *cookie.Keyring, h Hello) int {
	ports := portMap{pool: p}
	return ports.expected(k.Current(), &h.Binding)
}

// pooled are back ends with pools without sockets, by mode: one whose cookies are asked for, one whose are computed.
func pooled(t *testing.T) map[Mode]*Backend {
	t.Helper()
	all := make(map[Mode]*Backend)
	for _, mode := range []Mode{Harvest, NativeQt} {
		b, err := openBackend(t, server.Start(t), mode, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[mode] = b
	}
	return all
}

// Between the two ClientHellos of a client no other program gets its port.
func TestOfferedPortIsHeld(t *testing.T) {
	t.Parallel()
	for mode, b := range pooled(t) {
		m, k, p := b.NewVerifier(1), keyring(t, 'a'), b.pool()
		c := answer(t, m, k, whole(t, 1))
		at := p.sources.at(entryOf(m, p, k, whole(t, 1)))
		if other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err == nil {
			other.Close()
			t.Errorf("%v: another program gets the port of a client's cookie", mode)
		}
		v := verdict(m, k, whole(t, 1), c)
		up := take(t, &v)
		if up == nil {
			t.Fatalf("%v: %+v has no socket", mode, v)
		}
		if n := p.holds.room.Load(); n != mostHeld || up.Local() != at {
			t.Errorf("%v: room for %d sockets, the flow has %v of %v", mode, n, up.Local(), at)
		}
		up.Release()
	}
}

// A port that another program has is not offered, until it is free.
func TestPortOfAnotherProgramIsNotOffered(t *testing.T) {
	t.Parallel()
	for mode, b := range pooled(t) {
		m, k, p := b.NewVerifier(1), keyring(t, 'a'), b.pool()
		h := whole(t, 1)
		entry := entryOf(m, p, k, h)
		other := anotherProgram(t, p, entry)
		c := answer(t, m, k, h)
		v := verdict(m, k, h, c)
		if up := take(t, &v); up == nil {
			t.Errorf("%v: the client gets the cookie of a port that another program has", mode)
		} else {
			up.Release()
		}
		p.tick(time.Now())
		if p.free(entry) {
			t.Errorf("%v: the entry is free while another program has its port", mode)
		}
		_ = other.Close()
		p.tick(time.Now())
		if !p.free(entry) {
			t.Errorf("%v: the entry is not to be had when its port is free", mode)
		}
		if v = verdict(m, k, h, c); !v.Verified {
			t.Errorf("%v: then the client's cookie is refused", mode)
		}
	}
}

// Who never comes back has a port for as long as the cookie is reserved.
func TestHoldsEnd(t *testing.T) {
	t.Parallel()
	for mode, b := range pooled(t) {
		m, k, p := b.NewVerifier(1), keyring(t, 'a'), b.pool()
		for i := range uint16(3) {
			answer(t, m, k, whole(t, i))
			answer(t, m, k, whole(t, i)) // retransmitted
		}
		if n := p.holds.room.Load(); n != mostHeld-3 {
			t.Errorf("%v: room for %d sockets while 3 of %d are held", mode, n, mostHeld)
		}
		p.tick(time.Now().Add(reservation * time.Second))
		if n := p.holds.room.Load(); n != mostHeld || len(p.holds.sockets) > 0 {
			t.Errorf("%v: room for %d sockets of %d, %d are held", mode, n, mostHeld, len(p.holds.sockets))
		}
	}
}

// What a flood or a program in the kernel offers is not held. A client whose port another program has when it comes is met again: it
// gets another cookie only if the port is not free by then, for DTLSv1_listen stalls with a client that was given two.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	for mode, b := range pooled(t) {
		m, k, p := b.NewVerifier(1), keyring(t, 'a'), b.pool()
		p.holds.room.Store(0)
		h := whole(t, 1)
		c := answer(t, m, k, h)
		entry := entryOf(m, p, k, h)
		open := func(c []byte) error {
			v := verdict(m, k, h, c)
			if !v.Verified {
				t.Fatalf("%v: the cookie is refused", mode)
			}
			up, err := v.Place.Open()
			if up != nil {
				up.Release()
			} else if err == nil {
				err = errOtherCookie
			}
			return err
		}
		other := anotherProgram(t, p, entry)
		if err := open(c); !errors.Is(err, ErrPortBusy) {
			t.Errorf("%v: at first %v", mode, err)
		}
		_ = other.Close()
		if err := open(c); err != nil {
			t.Errorf("%v: when the port is free %v", mode, err)
		}
		p.tick(time.Now().Add(reservation * time.Second))
		anotherProgram(t, p, entry)
		if err := open(c); !errors.Is(err, ErrPortBusy) {
			t.Errorf("%v: a client that comes once %v", mode, err)
		}
		p.tick(time.Now().Add((reservation + 1) * time.Second))
		if err := open(c); !errors.Is(err, errOtherCookie) {
			t.Errorf("%v: a client that comes again %v", mode, err)
		}
		second := verdict(m, k, h, c)
		if second.Verified || second.Length == 0 {
			t.Fatalf("%v: then got %+v", mode, second)
		}
		if err := open(append([]byte(nil), second.Answer[:second.Length]...)); err != nil {
			t.Errorf("%v: the second cookie %v", mode, err)
		}
	}
}

var errOtherCookie = errors.New("it is to get another cookie")
