package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// dnat has the guard's host forward what comes to an address of its own, from clients or from itself, to a server, as docker -p does. The
// rules keep no state, so they need no module for NAT.
func dnat(p *place, from, to netip.AddrPort) {
	p.t.Helper()
	need(p.t, "nft")
	there := fmt.Sprintf("ip daddr %v udp dport %d udp dport set %d ip daddr set %v", from.Addr(), from.Port(), to.Port(), to.Addr())
	back := fmt.Sprintf("ip saddr %v udp sport %d udp sport set %d ip saddr set %v", to.Addr(), to.Port(), from.Port(), from.Addr())
	rules := fmt.Sprintf(`table ip forwarding {
	chain prerouting { type filter hook prerouting priority dstnat; %[1]s; }
	chain output { type route hook output priority mangle; %[1]s; }
	chain input { type filter hook input priority mangle; %[2]s; }
	chain postrouting { type filter hook postrouting priority srcnat; %[2]s; }
	}`, there, back)
	if status := start(p.t, p.Middle, "nft", rules).End(); status != 0 {
		await.Require(p.t, "nf_tables", fmt.Errorf("nft: exit status %d", status))
	}
}

// TestForwardedByNAT: a service whose address and port are another host's by NAT is served inline if workers have a port of their own,
// which no rule of NAT changes. Without one their datagrams are lost, which the guard says.
func TestForwardedByNAT(t *testing.T) {
	p := newPlace(t)
	dnat(p, public[0], behind[0])
	srv := startServer(t, p.Server, behind[0])

	g := p.run(first("--answer", "workers")...)
	a := newAsker(t, p, public[0])
	for range 8 {
		if a.ask(50*time.Millisecond) != 0 {
			t.Fatal("a worker answered: NAT lets datagrams that have a socket through, and docs/xdp.md is wrong")
		}
	}
	g.Expect("ClientHellos do not reach the workers")
	g.Expect("if NAT forwards it, choose --workers-port")
	g.stop()

	g = p.run(first("--answer", "workers", "--workers-port", "4500")...)
	c := openssl()(t, p.Lab, public[0])
	c.ping("ping through NAT")
	c.close()
	if x := g.status().XDP; x.Verdicts["steered"] == 0 || x.Egress["rewritten"] == 0 || x.Egress["learned"] == 0 {
		t.Errorf("want the client answered by a worker, and its session learned: %+v", x)
	}
	if n := srv.clients(1); n != 1 {
		t.Errorf("%d clients at the server, want 1", n)
	}
	g.stop()
	p.free()
}
