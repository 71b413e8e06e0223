package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// deafen makes the client host drop the guard's ARP requests and neighbour solicitations:
// to the guard this looks like a full receive ring that loses the answers.
func deafen(p *place) {
	p.t.Helper()
	if err := p.Bare(); err != nil {
		p.t.Fatal(err)
	}
	const etherARP, etherIPv6, icmp6, solicitation, pass, drop = 0x0608, 0xdd86, 58, 135, 2, 1 // EtherTypes in loaded byte order
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "deaf", Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, pass),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 14), asm.JGT.Reg(asm.R4, asm.R3, "end"),
		asm.LoadMem(asm.R5, asm.R2, 12, asm.Half), asm.JEq.Imm(asm.R5, etherARP, "drop"), asm.JNE.Imm(asm.R5, etherIPv6, "end"),
		asm.Mov.Reg(asm.R4, asm.R2), asm.Add.Imm(asm.R4, 55), asm.JGT.Reg(asm.R4, asm.R3, "end"),
		asm.LoadMem(asm.R5, asm.R2, 20, asm.Byte), asm.JNE.Imm(asm.R5, icmp6, "end"),
		asm.LoadMem(asm.R5, asm.R2, 54, asm.Byte), asm.JNE.Imm(asm.R5, solicitation, "end"),
		asm.Mov.Imm(asm.R0, drop).WithSymbol("drop"),
		asm.Return().WithSymbol("end"),
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { prog.Close() })
	err = p.Client.Do(func() error {
		dev, err := net.InterfaceByName(lab.ToMiddle)
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Index, Flags: link.XDPDriverMode})
		if err == nil {
			p.t.Cleanup(func() { l.Close() })
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// doubtSoon makes the guard's host recheck its neighbours soon instead of after half a minute or more: within 1.5 s of the last
// confirmation an entry becomes stale, and some seconds after the next packet to it comes the check.
func doubtSoon(p *place, seconds int) {
	p.t.Helper()
	for name, value := range map[string]int{
		"base_reachable_time_ms": 1000, "delay_first_probe_time": seconds, "retrans_time_ms": 100, "ucast_solicit": 2, "mcast_solicit": 1,
	} {
		for _, family := range []string{"ipv4", "ipv6"} {
			file := fmt.Sprintf("/proc/sys/net/%s/neigh/%s/%s", family, iface, name)
			if err := p.Middle.Do(func() error { return os.WriteFile(file, []byte(fmt.Sprint(value)), 0) }); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

// neighbour returns the entry for a in the guard's host, with its hardware address; nil if there is none.
func (p *place) neighbour(a netip.Addr) (entry *netlink.Neigh) {
	p.t.Helper()
	err := p.Middle.Do(func() error {
		dev, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		list, err := netlink.NeighList(dev.Attrs().Index, 0)
		for i := range list {
			if n, ok := netip.AddrFromSlice(list[i].IP); ok && n.Unmap() == a {
				entry = &list[i]
			}
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return entry
}

// A router whose ARP replies and neighbour advertisements are lost stays reachable while its frames arrive, so that the
// answers of workers and the server's own packets still go out. Without this, 400 000 of 400 000 answers were lost.
func TestRouterStaysReachable(t *testing.T) {
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprintf("keep-neighbours=%v", keep), func(t *testing.T) {
			p := newPlace(t)
			startServer(t, p.Middle, public[0])
			startServer(t, p.Middle, public[1])
			g := p.run(append(inline(), "--answer", "workers", "--handoff", "trust", fmt.Sprintf("--keep-neighbours=%v", keep))...)
			doubtSoon(p, 1)
			f := newFlooder(t, p) // its sources are routed through the client's host
			f.send(10)            // the answers make the guard's host resolve the router
			routers := [2]netip.Addr{lab.Client4, lab.Client6}
			var before [2]string
			for i, a := range routers {
				g.Until(fmt.Sprintf("%v is resolved", a), func() bool {
					n := p.neighbour(a)
					if n != nil {
						before[i] = n.HardwareAddr.String()
					}
					return n != nil && n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY) != 0
				})
			}
			deafen(p)
			if !keep {
				for _, a := range routers {
					g.Until(fmt.Sprintf("%v is unreachable", a), func() bool {
						f.send(10)
						n := p.neighbour(a)
						return n == nil || n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0
					})
				}
				return
			}
			g.Until("both entries were kept several times", func() bool {
				f.send(10)
				return g.status().XDP.Interfaces[0].NeighboursHeld >= 8
			})
			// Only while frames arrive are entries kept.
			stop := make(chan struct{})
			var flood sync.WaitGroup
			flood.Go(func() {
				for ticker := time.NewTicker(50 * time.Millisecond); ; {
					select {
					case <-stop:
						return
					case <-ticker.C:
						f.send(10)
					}
				}
			})
			defer flood.Wait()
			defer close(stop)
			for i, a := range routers {
				if n := p.neighbour(a); n == nil || n.HardwareAddr.String() != before[i] || n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0 {
					t.Errorf("%v: %+v, want the previous entry, %s", a, n, before[i])
				}
				c := pion(t, p.Lab, public[i])
				c.ping("the way back works")
				c.close()
			}
		})
	}
}

// A proxy's established session by itself keeps both next hops reachable, without XDP.
func TestSessionsKeepNextHops(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Server, behind[0])
	startServer(t, p.Server, behind[1])
	g := p.run(append(proxy(), "--answer", "workers", "--keep-neighbours=false")...)
	const seconds = 4 // so long may a line take
	doubtSoon(p, seconds)
	var sessions [2]association
	for i, to := range public {
		sessions[i] = pion(t, p.Lab, to)
		sessions[i].ping("a session")
	}
	deafen(p)
	n := 0
	states := make(map[int]bool)
	// Longer than an entry takes until it is rechecked.
	for end := time.Now().Add((seconds + 4) * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		n++
		for i, s := range sessions {
			s.ping(fmt.Sprintf("line %d", n))
			entry := p.neighbour([2]netip.Addr{lab.Client4, lab.Client6}[i])
			if entry == nil {
				t.Fatal("no entry")
			}
			states[entry.State] = true
		}
	}
	if states[netlink.NUD_PROBE] {
		t.Error("a next hop was rechecked")
	}
	g.stop()
}
