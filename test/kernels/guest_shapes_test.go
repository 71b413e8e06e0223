package kernels

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

const (
	servicePort = 4433
	backendPort = 4434
)

// services are the guard's public addresses, backends the addresses of servers behind a proxy.
var (
	services = []netip.AddrPort{netip.AddrPortFrom(lab.Middle4, servicePort), netip.AddrPortFrom(lab.Middle6, servicePort)}
	backends = []netip.AddrPort{netip.AddrPortFrom(lab.Server4, backendPort), netip.AddrPortFrom(lab.Server6, backendPort)}
)

// shape is a way to deploy the guard.
type shape struct {
	name   string
	inline bool
	xdp    bool
	args   []string
	by     string // the verdict that its answers are counted under
}

// shapes are all five. The first has no BPF, and its answers are the reference for the others.
var shapes = []shape{
	{"proxy", false, false, nil, ""},
	{"proxy-xdp", false, true, nil, "answered"},
	{"inline-xdp", true, true, []string{"--answer", "xdp"}, "answered"},
	{"inline-workers", true, true, []string{"--answer", "workers"}, "steered"},
	{"inline-generic", true, true, []string{"--xdp-mode", "generic", "--answer", "xdp"}, "answered"},
}

// arguments returns the arguments of dtlsguard run in this shape.
func (s *shape) arguments(secret string) []string {
	args := []string{"--hello-rate", "0", "--secret-file", secret, "--handoff", "trust"}
	if s.inline { // the lab's other interface has no XDP
		args = append(args, "--allow-unguarded")
	}
	for i, a := range services {
		if s.inline {
			args = append(args, "--protect", a.String())
		} else {
			args = append(args, "--listen", a.String(), "--backend", backends[i].String())
		}
	}
	if s.xdp {
		args = append(args, "--interface", lab.ToClient)
	}
	return append(args, s.args...)
}

// secretFile writes a secret file, the same each time.
func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(strings.Repeat("0123456789abcdef", 4)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every shape serves clients over IPv4 and IPv6, gives exactly the answers of a worker without BPF, lets no junk
// through to the server, and starts and stops without cutting an association.
func TestGuestShapes(t *testing.T) {
	guestOnly(t)
	var reference map[string]string
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			l := newLab(t)
			g, servers := s.start(t, l)
			for _, a := range services {
				c := connect(t, l, a)
				c.ping("over " + s.name)
				c.close()
			}
			answers := flood(t, l)
			if reference == nil {
				reference = answers
			}
			differ := 0
			for question, answer := range answers {
				if reference[question] != answer {
					differ++
				}
			}
			if differ > 0 || len(answers) != len(reference) {
				t.Errorf("of %d answers %d are not those of a worker without BPF; there were %d of them", len(answers), differ, len(reference))
			}
			if s.xdp {
				if v := g.status().XDP.Verdicts; v[s.by] < floodSize {
					t.Errorf("want %d ClientHellos %s: %v", floodSize, s.by, v)
				}
			}
			noJunk(t, l, g, servers)
			g.stop()
			g.gone()
		})
	}
}

// start starts servers and a guard. An inline guard starts when its server already has a client, which it must not cut.
func (s *shape) start(t *testing.T, l *lab.Lab) (*guard, []*process) {
	t.Helper()
	at, host := backends, l.Server
	if s.inline {
		at, host = services, l.Middle
	}
	var servers []*process
	for _, a := range at {
		servers = append(servers, startServer(t, host, a))
	}
	secret := secretFile(t)
	if !s.inline {
		return run(t, l, s.arguments(secret)...), servers
	}
	old := connect(t, l, services[0])
	old.ping("before")
	silent := old.keepTalking()
	g := run(t, l, s.arguments(secret)...)
	old.ping("first with a guard")
	old.ping("second with a guard")
	if e := g.status().XDP.Egress; e["learned"] == 0 {
		t.Errorf("no flow was learned from what the server sent: %v", e)
	}
	t.Cleanup(func() { // the guard has ended by now
		silent()
		if !t.Failed() {
			old.ping("after")
		}
	})
	return g, servers
}

// floodSize is the number of a flood's ClientHellos, both families together.
const floodSize = 400

// flood sends ClientHellos that differ in their random, and returns the answers by question. They have one source port, so
// that floods of different shapes can be compared, and are paced, since the content of answers matters here and not the rate.
func flood(t *testing.T, l *lab.Lab) map[string]string {
	t.Helper()
	const port, atOnce = 5555, 16
	answers := make(map[string]string)
	for family, to := range services {
		conn, err := l.Client.ListenUDP(netip.AddrPortFrom([]netip.Addr{lab.Client4, lab.Client6}[family], port).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		h := hellotest.New()
		waiting := make(map[string]string) // keyed by the record sequence number, which the answer repeats
		for i := range floodSize / 2 {
			h.Random[0], h.Random[1], h.RecordSeq = byte(i), byte(i>>8), uint32(i)
			question := h.Bytes()
			waiting[string(question[5:11])] = fmt.Sprintf("%d:%x", family, question)
			if _, err := conn.WriteToUDPAddrPort(question, to); err != nil {
				t.Fatal(err)
			}
			if (i+1)%atOnce > 0 && i+1 < floodSize/2 {
				continue
			}
			collect(t, conn, to, waiting, answers)
		}
	}
	return answers
}

// collect receives the answers in waiting, and asks again for those that do not come.
func collect(t *testing.T, conn *net.UDPConn, to netip.AddrPort, waiting, answers map[string]string) {
	t.Helper()
	b := make([]byte, 2048)
	for end := time.Now().Add(patience); len(waiting) > 0; {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			if time.Now().After(end) {
				t.Fatalf("%d ClientHellos to %v have no answer: %v", len(waiting), to, err)
			}
			for _, q := range waiting {
				var question []byte
				_, _ = fmt.Sscanf(q[2:], "%x", &question)
				_, _ = conn.WriteToUDPAddrPort(question, to)
			}
			continue
		}
		if _, ok := hello.HelloVerifyCookie(b[:n]); !ok || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != to {
			t.Fatalf("no HelloVerifyRequest of %v: %x from %v", to, b[:n], from)
		}
		if q, ok := waiting[string(b[5:11])]; ok {
			answers[q] = string(b[:n])
			delete(waiting, string(b[5:11]))
		}
	}
}

// noJunk sends malformed DTLS, and checks that none of it reaches a server's socket.
func noJunk(t *testing.T, l *lab.Lab, g *guard, servers []*process) {
	t.Helper()
	const n = 50
	before, began := received(t, servers), time.Now()
	for _, to := range services {
		conn, err := l.Client.ListenUDP(":0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for i := range n {
			junk := append([]byte{22, 0xfd, byte(i)}, make([]byte, 40+i)...) // a record of an unknown version
			if _, err := conn.WriteToUDPAddrPort(junk, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	if g.xdp {
		g.Until("the junk is dropped", func() bool { return g.status().XDP.Verdicts["drop-malformed"] >= 2*n })
	} else {
		flood(t, l) // when these are answered, the junk has been handled
	}
	// The guard asks each server up to twice per second, and an old client may send to it.
	others := 20 + 4*uint64(time.Since(began).Seconds())
	if after := received(t, servers); after-before > others {
		t.Errorf("of %d pieces of junk %d came to the servers", 2*n, after-before)
	}
}

// received is the number of datagrams that the servers' host has received.
func received(t *testing.T, servers []*process) (n uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", servers[0].Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "Udp: %d", &n); err == nil {
			break
		}
	}
	six, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp6", servers[0].Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(six)) {
		var m uint64
		if _, err := fmt.Sscanf(line, "Udp6InDatagrams %d", &m); err == nil {
			n += m
		}
	}
	return n
}
