package lab

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
)

// The sources of a flood that XDP answers and drops are reported, although no worker sees it, and an operator can capture
// it in the meantime.
func TestPrefixesOfXDP(t *testing.T) {
	p := newPlace(t)
	shapes["inline"].serve(t, p.Lab)
	g := p.run(append(inline(), "--answer", "xdp", "--attack-rate", "50")...)
	f := newFlooder(t, p)
	var top attack.Prefixes
	// While the flood lasts nothing is forgotten, and the programs' counters are read once per second.
	g.Until("the flood's prefix is reported, with most of its datagrams", func() bool {
		f.send(100)
		status := g.status()
		for _, s := range status.Services {
			if s.Listen == public[1].String() {
				top = s.Prefixes
			}
			if s.Clients["answered"] > 0 {
				t.Fatalf("a worker answers: %v", s.Clients)
			}
		}
		return len(top) > 0 && top[0].Datagrams >= max(status.XDP.Services[public[1].String()]["answered"]/2, 16)
	})
	network, _ := spoofed[1].Addr().Prefix(48)
	if len(top) != 1 || top[0].Prefix != network || top[0].Share < 0.99 {
		t.Errorf("%v, want %v alone", top, network)
	}
	capture := startCmd(t, p.Middle, exec.Command(program(), "capture", "-w", filepath.Join(t.TempDir(), "c.pcapng"), "--for", "500ms", "--control", p.control))
	if status := capture.End(); status != 0 {
		t.Errorf("capture: exit status %d: %s", status, capture.Text())
	}
	g.stop()
	p.free()
}

// Handshakes with a server that keeps its port are counted, although no worker sees them, with how they ended, how long they took and
// what they and the answers weighed.
func TestHandshakesInline(t *testing.T) {
	p := newPlace(t)
	shapes["inline"].serve(t, p.Lab)
	g := p.run(append(inline(), "--answer", "xdp", "--metrics-listen", frontend.DefaultMetrics)...)
	client := openssl()(t, p.Lab, public[0])
	client.ping("established")
	openssl("-cipher", "ECDHE-RSA-AES128-GCM-SHA256")(t, p.Lab, public[0]) // is refused: the server has an ECDSA key
	counted := func() map[string]uint64 {
		for _, s := range g.status().Services {
			if s.Listen == public[0].String() {
				return s.Handshakes
			}
		}
		return nil
	}
	g.Until("the server's alert is counted", func() bool { return counted()["failed"] > 0 })
	if n := counted(); n["established"] != 1 || n["started"] < 2 || n["failed"] != 1 || n["timed-out"] != 0 {
		t.Errorf("%v, want one that is established and one that failed", n)
	}
	took := fmt.Sprintf("dtlsguard_handshake_duration_seconds_count{service=%q} 1\n", public[0].String())
	g.Until("the time of a handshake is known", func() bool { return strings.Contains(g.get("/metrics"), took) })
	x := g.status().XDP
	const shortest, longest = 67, 60 // bytes of a ClientHello and of a HelloVerifyRequest
	n, bytes := x.Services[public[0].String()], x.ServiceBytes[public[0].String()]
	if bytes["answered"] < n["answered"]*shortest || bytes["pass-verified"] < n["pass-verified"]*shortest || bytes["pass-flow"] < n["pass-flow"] {
		t.Errorf("bytes of %v: %v", n, bytes)
	}
	if x.AnswerBytes != n["answered"]*longest {
		t.Errorf("%d answers of %d bytes", n["answered"], x.AnswerBytes)
	}
	client.close()
	g.stop()
	p.free()
}
