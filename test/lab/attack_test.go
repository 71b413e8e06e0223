package lab

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/attack"
)

// The sources of a flood that XDP answers and drops are reported, although no worker sees it, and an operator can capture
// it in the meantime.
func TestPrefixesOfXDP(t *testing.T) {
	p := newPlace(t)
	shapes["inline"].serve(t, p.Lab)
	g := p.run(append(inline(), "--answer", "xdp", "--attack-rate", "50")...)
	f := newFlooder(t, p)
	told := func() (top attack.Prefixes) {
		f.send(100)
		for _, s := range g.status().Services {
			if s.Listen == public[1].String() {
				top = s.Prefixes
			}
			if s.Clients["answered"] > 0 {
				t.Fatalf("a worker answers: %v", s.Clients)
			}
		}
		return top
	}
	g.Until("the flood's prefix is reported", func() bool { return len(told()) > 0 })
	network, _ := spoofed[1].Addr().Prefix(48)
	if top := told(); len(top) != 1 || top[0].Prefix != network || top[0].Share < 0.99 {
		t.Errorf("%v, want %v alone", top, network)
	}
	counted := g.status().XDP.Services[public[1].String()]
	if n := told()[0].Datagrams; n < counted["answered"]/2 || n < 16 {
		t.Errorf("%d datagrams of %v", n, counted)
	}
	capture := startCmd(t, p.Middle, exec.Command(program(), "capture", "-w", filepath.Join(t.TempDir(), "c.pcapng"), "--for", "500ms", "--control", p.control))
	if status := capture.End(); status != 0 {
		t.Errorf("capture: exit status %d: %s", status, capture.Text())
	}
	g.stop()
	p.free()
}

// Handshakes with a server that keeps its port are counted, although no worker sees them.
func TestHandshakesInline(t *testing.T) {
	p := newPlace(t)
	shapes["inline"].serve(t, p.Lab)
	g := p.run(append(inline(), "--answer", "xdp", "--handshake-timeout", "1s")...)
	client := openssl()(t, p.Lab, public[0])
	client.ping("established")
	counted := func() map[string]uint64 {
		for _, s := range g.status().Services {
			if s.Listen == public[0].String() {
				return s.Handshakes
			}
		}
		return nil
	}
	if n := counted(); n["established"] != 1 || n["started"] < 1 || n["timed-out"] != 0 {
		t.Errorf("%v, want one that is established", n)
	}
	client.close()
	g.stop()
	p.free()
}
