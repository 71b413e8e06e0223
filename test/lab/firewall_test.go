package lab

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// firewall accepts UDP to some ports of the guard's host, and nothing else from the client.
func firewall(p *place, ports ...int) {
	p.t.Helper()
	need(p.t, "nft")
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ", "), "[]")
	rules := fmt.Sprintf(`table inet firewall {
	chain input {
		type filter hook input priority 0; policy drop
		ct state established,related accept
		iif lo accept
		meta l4proto { icmp, icmpv6 } accept
		udp dport { %s } accept
	}
	}`, list)
	if status := start(p.t, p.Middle, "nft", rules).End(); status != 0 {
		await.Require(p.t, "nf_tables", fmt.Errorf("nft: exit status %d", status))
	}
}

// A host's firewall with a rule for the service's port lets workers hear clients and answer them: packets keep that port.
func TestFirewall(t *testing.T) {
	for i, address := range public {
		t.Run(address.Addr().String(), func(t *testing.T) {
			p := newPlace(t)
			srv := startServer(t, p.Middle, address)
			g := p.run("--protect", public[i].String(), "--answer", "workers")
			firewall(p, servicePort)
			c := openssl()(t, p.Lab, address)
			c.ping("ping through a firewall")
			c.close()
			if v := g.status().XDP.Verdicts; v["steered"] == 0 || v["answered"] > 0 {
				t.Errorf("the client was to be answered by a worker: %v", v)
			}
			if n := srv.clients(1); n != 1 {
				t.Errorf("%d clients at the server, want 1", n)
			}
			g.stop()
			p.free()
		})
	}
}

// With a workers' port of its own, a host's firewall must accept that port as well: XDP sends clients' packets there. What clients
// send to it directly is dropped before the firewall.
func TestFirewallWithWorkersPort(t *testing.T) {
	const port = 4500
	p := newPlace(t)
	srv := startServer(t, p.Middle, public[0])
	g := p.run(first("--answer", "workers", "--workers-port", fmt.Sprint(port))...)
	firewall(p, int(public[0].Port()), port)
	c := openssl()(t, p.Lab, public[0])
	c.ping("ping through a firewall")
	c.close()
	if v := g.status().XDP.Verdicts; v["steered"] == 0 || v["answered"] > 0 {
		t.Errorf("want the client answered by a worker: %v", v)
	}
	if n := srv.clients(1); n != 1 {
		t.Errorf("%d clients at the server, want 1", n)
	}
	if stray := newAsker(t, p, netip.AddrPortFrom(public[0].Addr(), port)); stray.ask(100*time.Millisecond) != 0 {
		t.Error("a worker answers a client that sends to the workers' port")
	}
	if v := g.status().XDP.Verdicts; v["drop-workers-port"] == 0 {
		t.Errorf("want what came to the workers' port dropped: %v", v)
	}
	g.stop()
	p.free()
}
