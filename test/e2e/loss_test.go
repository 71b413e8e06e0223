package e2e

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v4/pkg/protocol"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// stack is a client and a server whose handshakes through the guard are compared with those without it.
type stack struct {
	row
	client string
	extra  int // additional round trips with a guard: none where the server asks for a cookie itself
}

// stacks are those of the table in docs/field.md. The first ones, one per mode, are tried with losses in every run of the tests.
var stacks = []stack{
	{row: row{server: "OpenSSL, DTLSv1_listen", mode: "harvest", start: peer("openssl", "")}, client: "openssl"},
	{row: row{server: "OpenSSL, SSL_accept", mode: "replay", start: peer("openssl-accept", "trust")}, client: "pion"},
	{row: row{server: "GnuTLS", mode: "native-gnutls", secret: true, start: peer("gnutls", "")}, client: "gnutls"},
	{row: row{server: "wolfSSL, DTLS 1.3", mode: "native-wolfssl", secret: true, start: peer("wolfssl13", "")}, client: "wolfssl13"},
	{row: row{server: "wolfSSL", mode: "native-wolfssl", secret: true, start: peer("wolfssl", "")}, client: "wolfssl"},
	{row: row{server: "Mbed TLS", mode: "harvest", start: peer("mbedtls", "")}, client: "mbedtls"},
	{row: row{server: "Qt QDtls", mode: "harvest", start: peer("qt", "")}, client: "pion4"},
	{row: row{server: "wolfSSL, own secret", mode: "double-hvr", start: peer("wolfssl", "")}, client: "openssl", extra: 1},
	{row: row{server: "OpenSSL, SSL_accept without cookies", mode: "reset", start: peer("openssl-accept", "none")}, client: "pion", extra: 2},
	{row: row{server: "Pion v4, DTLS 1.3", mode: "reset", start: peer("pion4", "13")}, client: "pion4-13", extra: 2},
}

// lossy is the number of stacks that are tried with losses in every run.
const lossy = 4

// connected is what programs print when they have finished a handshake. s_client names the cipher (NONE) if it has failed.
var connected = map[string]string{"openssl": "Cipher is ECDHE", "gnutls": "Handshake was completed"}

// shake starts a client and reports whether its handshake finishes within a time. It returns as soon as it has, and kills the client.
func shake(t *testing.T, name string, addr netip.AddrPort, within time.Duration) bool {
	t.Helper()
	switch name {
	case "pion":
		_, err := dialPion(t, addr, within)
		return err == nil
	case "pion4":
		_, err := dialPion4(t, addr, protocol.Version1_2, within)
		return err == nil
	case "pion4-13":
		_, err := dialPion4(t, addr, protocol.Version1_3, within)
		return err == nil
	}
	p := matrixClients[name].dial(t, addr).(interface{ self() *program }).self()
	defer p.stop()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if p.says(cmp.Or(connected[name], "connected")) {
			return true
		}
		select {
		case <-p.exited:
			return false
		default:
		}
	}
	return false
}

// run is how a handshake went.
type run struct {
	took time.Duration // from the client's first datagram
	sent int           // datagrams of the client
}

// never is the time of a handshake that fails.
const never = time.Duration(1<<63 - 1)

// measure runs a client's handshake over a path. In mode reset the client is at an address that the guard does not know, and tries
// again as soon as an attempt fails.
func (s *stack) measure(t *testing.T, to netip.AddrPort, decide func(*netpath.Datagram) netpath.Fate, within time.Duration) run {
	t.Helper()
	p, end := startPathFrom(t, newAddress(), to, decide), time.Now().Add(within)
	done := shake(t, s.client, p.Addr, within)
	for s.mode == "reset" && !done && time.Now().Before(end) {
		done = shake(t, s.client, p.Addr, time.Until(end))
	}
	end = time.Now()
	sent := p.Seen(func(d *netpath.Datagram) bool { return d.FromClient })
	if !done || len(sent) == 0 {
		return run{never, len(sent)}
	}
	return run{end.Sub(sent[0].At), len(sent)}
}

// both starts a stack's server and a guard in front of it.
func (s *stack) both(t *testing.T, pool int) (direct, guarded netip.AddrPort) {
	t.Helper()
	secretFile := s.secrets(t)
	srv := s.serve(t, address("127.0.0.1", freePort(t)), secretFile)
	g := startGuard(t, srv.addr, func(c *frontend.Config) {
		s.configure(t, c, secretFile)
		c.HarvestPool = pool
		c.Workers = 1
	})
	return srv.addr, g.addr
}

// TestRoundTrips: a client needs no more datagrams for a handshake through the guard than for one with the server itself, whichever
// is lost, one more where the server asks for a cookie a second time, and two more where it proves its address by a first attempt.
// make test-loss measures the time.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	lose := func(fromClient bool, nth int) func(*netpath.Datagram) netpath.Fate {
		return func(d *netpath.Datagram) netpath.Fate {
			if d.FromClient == fromClient && d.Nth == nth {
				return netpath.Drop
			}
			return netpath.Pass
		}
	}
	for i := range stacks {
		s := &stacks[i]
		paths := map[string]func(*netpath.Datagram) netpath.Fate{"none": nil}
		for nth := range 2 {
			if i < lossy {
				paths[fmt.Sprint("client's ", nth+1)] = lose(true, nth)
				paths[fmt.Sprint("server's ", nth+1)] = lose(false, nth)
			}
		}
		t.Run(s.server+" "+s.mode, func(t *testing.T) {
			t.Parallel()
			direct, guarded := s.both(t, roomy)
			for lost, decide := range paths {
				t.Run(lost, func(t *testing.T) { t.Parallel(); s.compare(t, direct, guarded, decide) })
			}
		})
	}
}

// compare compares the client's datagrams until its handshake is finished, without the guard and through it.
func (s *stack) compare(t *testing.T, direct, guarded netip.AddrPort, decide func(*netpath.Datagram) netpath.Fate) {
	const tries = 5 // a busy machine makes clients retransmit: compare the best through the guard with the worst without it
	least, most := math.MaxInt, 0
	for range tries {
		without := s.measure(t, direct, decide, patience)
		if without.took == never { // so busy is the machine
			continue
		}
		most = max(most, without.sent)
		if with := s.measure(t, guarded, decide, patience); with.took < never {
			least = min(least, with.sent)
		}
		if least <= most+s.extra {
			return
		}
	}
	t.Errorf("%s: %d datagrams of the client through the guard, %d without it, and %d more are allowed", s.client, least, most, s.extra)
}
