package kernels

import (
	"net"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// neighbour is another program at egress, which counts packets and leaves them to the next program.
type neighbour struct {
	count   *ebpf.Map
	program *ebpf.Program
	id      uint32
}

func newNeighbour(t *testing.T) *neighbour {
	t.Helper()
	count, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { count.Close() })
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.LoadMapValue(asm.R1, count.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, -1), // TCX_NEXT, and TC_ACT_UNSPEC of a filter
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(explain(err))
	}
	t.Cleanup(func() { p.Close() })
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return &neighbour{count, p, uint32(id)}
}

func (n *neighbour) packets(t *testing.T) (c uint64) {
	t.Helper()
	if err := n.count.Lookup(uint32(0), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// attach attaches it to an interface by a link, or, if the kernel has no links, by a filter of the given priority.
func (n *neighbour) attach(t *testing.T, ifindex int, name string, priority uint16) {
	t.Helper()
	a, err := tc.Attach(n.program, tc.Options{Interface: ifindex, Hook: tc.Egress, Name: name, Priority: priority})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Detach() })
}

// Programs of others at egress, attached before the guard and after it, by links and by filters, see every packet that they
// saw without it, in their order, and stay attached when it has ended.
func TestGuestBeside(t *testing.T) {
	guestOnly(t)
	l := newLab(t)
	var ifindex int
	inMiddle := func(f func()) {
		t.Helper()
		if err := l.Middle.Do(func() error { f(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	before, filter, after := newNeighbour(t), newNeighbour(t), newNeighbour(t)
	inMiddle(func() {
		dev, err := net.InterfaceByName(lab.ToClient)
		if err != nil {
			t.Fatal(err)
		}
		ifindex = dev.Index
		before.attach(t, ifindex, "before", 10)
		qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
		_ = netlink.QdiscAdd(qdisc) // on kernels without links it exists already
		if err := netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 7, Priority: 20, Protocol: unix.ETH_P_ALL},
			Fd:          filter.program.FD(), Name: "filter", DirectAction: true}); err != nil {
			t.Fatal(err)
		}
	})
	for _, a := range services {
		startServer(t, l.Middle, a)
	}
	inline := shapes[3]
	g := run(t, l, inline.arguments(secretFile(t))...)
	inMiddle(func() { after.attach(t, ifindex, "after", 9000) })

	all := []*neighbour{before, filter, after}
	seen := make([]uint64, len(all))
	for i, n := range all {
		seen[i] = n.packets(t)
	}
	c := connect(t, l, services[0])
	c.ping("beside others")
	c.close()
	for i, n := range all {
		if n.packets(t) == seen[i] {
			t.Errorf("neighbour %d of %d sees nothing that leaves", i, len(all))
		}
	}
	const guards = 0                                         // stands for the guard's program number
	want := []uint32{guards, before.id, after.id, filter.id} // links: the guard's goes to the head
	if tc.HaveLinks() != nil {                               // all are filters, ordered by priority
		want = []uint32{before.id, filter.id, guards, after.id}
	}
	order := func(when string) {
		t.Helper()
		inMiddle(func() {
			got, err := tc.Programs(ifindex, tc.Egress)
			for i, id := range got {
				if !slices.Contains([]uint32{before.id, filter.id, after.id}, id) {
					got[i] = guards
				}
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v at egress, want %v: %v", when, got, want, err)
			}
		})
	}
	order("with the guard")
	g.stop()
	want = slices.DeleteFunc(want, func(id uint32) bool { return id == guards })
	order("after it")
}
