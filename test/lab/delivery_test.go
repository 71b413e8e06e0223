package lab

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// otherWayBack routes what the guard's host sends to the client by an interface of its own.
func otherWayBack(p *place) {
	p.t.Helper()
	ns := "198.18.2."
	output(p.t, p.Middle, "ip", "link", "add", "back0", "type", "veth", "peer", "name", "back1", "netns", p.Client.Name)
	for _, end := range []struct {
		h          *lab.Namespace
		name, addr string
	}{{p.Middle, "back0", ns + "1/24"}, {p.Client, "back1", ns + "2/24"}} {
		output(p.t, end.h, "ip", "address", "add", end.addr, "dev", end.name)
		output(p.t, end.h, "ip", "link", "set", end.name, "up")
	}
	output(p.t, p.Middle, "ip", "route", "add", lab.Client4.String()+"/32", "via", ns+"2")
}

// lastAtEgress attaches a tcx program that ends the chain: it returns TCX_PASS.
func lastAtEgress(p *place) {
	p.t.Helper()
	attachTC(p, ebpf.AttachTCXEgress, asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()})
}

// attachTC attaches a tcx program after those that are on the guard's interface.
func attachTC(p *place, at ebpf.AttachType, code asm.Instructions) {
	p.t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "neighbour", Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: code})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { prog.Close() })
	err = p.Middle.Do(func() error {
		dev, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		l, err := link.AttachTCX(link.TCXOptions{Program: prog, Interface: dev.Index, Attach: at})
		if err == nil {
			p.t.Cleanup(func() { l.Close() })
		}
		return err
	})
	await.Require(p.t, "tcx links", err)
}

// behindBridge gives the addresses of the guard's interface to a bridge that it becomes a port of.
func behindBridge(p *place) {
	p.t.Helper()
	output(p.t, p.Middle, "ip", "link", "add", "bridge0", "type", "bridge")
	output(p.t, p.Middle, "ip", "address", "flush", "dev", iface)
	output(p.t, p.Middle, "ip", "link", "set", iface, "master", "bridge0")
	output(p.t, p.Middle, "ip", "address", "add", lab.Middle4.String()+"/24", "dev", "bridge0")
	output(p.t, p.Middle, "ip", "link", "set", "bridge0", "up")
}

// behindMACVLAN gives them to a macvlan device on it, which has its hardware address.
func behindMACVLAN(p *place) {
	p.t.Helper()
	output(p.t, p.Middle, "ip", "address", "flush", "dev", iface)
	output(p.t, p.Middle, "ip", "link", "add", "link", iface, "name", "own0", "type", "macvlan", "mode", "passthru")
	output(p.t, p.Middle, "ip", "address", "add", lab.Middle4.String()+"/24", "dev", "own0")
	output(p.t, p.Middle, "ip", "link", "set", "own0", "up")
}

// Workers hear clients and answer them from the service's port whichever way packets take: answers by another interface than
// clients come in by, past the programs of others, or both through a device on top of the guard's.
func TestAnswersLeaveByAnyWay(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(*place)
		by      string
	}{
		"another interface": {otherWayBack, "socket"}, "a program that ends the chain": {lastAtEgress, "socket"}, "macvlan": {behindMACVLAN, "socket"},
		"a bridge": {behindBridge, "port"}, // which loses sockets
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.arrange(p)
			srv := startServer(t, p.Middle, public[0])
			g := p.run(first("--answer", "workers")...)
			by, client := c.by, openssl()(t, p.Lab, public[0])
			client.ping("ping by another way")
			client.close()
			s := g.status()
			if x := s.XDP; x.Verdicts["steered"] == 0 || x.Verdicts["answered"]+x.Egress["rewritten"] > 0 || (x.Ingress["assigned"] == x.Verdicts["steered"]) != (by == "socket") {
				t.Errorf("ClientHellos were to reach workers by %s, who answer from the service's port: %+v", by, x)
			}
			if w := s.Services[0].WorkersBy; !strings.HasPrefix(w, by) {
				t.Errorf("workers are reached by %q, want %s", w, by)
			}
			if n := srv.clients(1); n != 1 {
				t.Errorf("%d clients at the server, want 1", n)
			}
			g.stop()
			p.free()
		})
	}
}

// With a workers' port of its own, answers that leave by another way are lost, which the guard says.
func TestLostAnswersAreSaid(t *testing.T) {
	p := newPlace(t)
	otherWayBack(p)
	startServer(t, p.Middle, public[0])
	g := p.run(first("--answer", "workers", "--workers-port", "4500")...)
	a := newAsker(t, p, public[0])
	for range 8 {
		if a.ask(50*time.Millisecond) != 0 {
			t.Fatal("an answer from the service's port came by the other way")
		}
	}
	g.Expect("answers of workers are not seen at egress")
	if s := g.status().Services[0].Problem; !strings.Contains(s, "egress") {
		t.Errorf("status says %q", s)
	}
	g.stop()
	p.free()
}

// A firewall that keeps ClientHellos from workers is noticed.
func TestLostHellosAreSaid(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	g := p.run(first("--answer", "workers")...)
	firewall(p, 1)
	a := newAsker(t, p, public[0])
	for range 8 {
		if a.ask(50*time.Millisecond) != 0 {
			t.Fatal("an answer came through the firewall")
		}
	}
	g.Expect("ClientHellos do not reach the workers")
	g.stop()
	p.free()
}

// A program behind the guard's that gives a ClientHello another socket, the server's, gives the server nothing that it reads.
func TestAssignedHelloIsNothingToTheServer(t *testing.T) {
	p := newPlace(t)
	server, err := p.Middle.ListenUDP(public[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	g := p.attach(first("--answer", "workers", "--handoff", "trust")...)
	newAsker(t, p, public[0]).until(guardCookie, "before")
	attachTC(p, ebpf.AttachTCXIngress, assignTo(public[0]))
	// From another socket: answers to the previous one may be late.
	if newAsker(t, p, public[0]).ask(200*time.Millisecond) != 0 {
		t.Error("a worker answered what the other program gave to the server")
	}
	got := false
	for b := make([]byte, 2048); ; {
		_ = server.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, from, err := server.ReadFromUDPAddrPort(b)
		if err != nil {
			break
		}
		if from.Addr().Unmap() == lab.Client4 {
			got = true
			if n == 0 || b[0] == 22 {
				t.Errorf("the server got % x", b[:min(n, 16)])
			}
		}
	}
	if !got {
		t.Error("nothing came to the server: the test shows nothing")
	}
	g.stop()
	p.free()
}

// assignTo is a program that gives every UDP packet that comes in over IPv4 the socket at an address.
func assignTo(at netip.AddrPort) asm.Instructions {
	word := func(b ...byte) int32 {
		return int32(uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24)
	}
	a4, c4, port := at.Addr().As4(), lab.Client4.As4(), at.Port()
	const size, protocolAt = 12, 14 + 9
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R1, 76, asm.Word), asm.LoadMem(asm.R3, asm.R1, 80, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, protocolAt+1), asm.JGT.Reg(asm.R4, asm.R3, "end"),
		asm.LoadMem(asm.R5, asm.R2, protocolAt, asm.Byte), asm.JNE.Imm(asm.R5, unix.IPPROTO_UDP, "end"),
		asm.StoreImm(asm.RFP, -12, int64(word(c4[:]...)), asm.Word),
		asm.StoreImm(asm.RFP, -8, int64(word(a4[:]...)), asm.Word),
		asm.StoreImm(asm.RFP, -4, int64(word(1, 1, byte(port>>8), byte(port))), asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -size), asm.Mov.Imm(asm.R3, size),
		asm.Mov.Imm(asm.R4, -1), asm.Mov.Imm(asm.R5, 0), asm.FnSkLookupUdp.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"), asm.Mov.Reg(asm.R7, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Reg(asm.R2, asm.R7), asm.Mov.Imm(asm.R3, 0), asm.FnSkAssign.Call(),
		asm.Mov.Reg(asm.R1, asm.R7), asm.FnSkRelease.Call(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("end"), asm.Return(),
	}
}
