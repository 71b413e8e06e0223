package tc

import (
	"errors"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// need skips a test if the kernel does not suffice, and fails it where it must (CI).
func need(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("DTLSGUARD_REQUIRE_BPF") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// inLab runs a test on an interface of its own network.
func inLab(t *testing.T, f func(ifindex int)) {
	t.Helper()
	l, err := lab.New("tc")
	need(t, err)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := l.Middle.Do(func() error {
		dev, err := net.InterfaceByName(lab.ToClient)
		if err == nil {
			f(dev.Index)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func program(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}}) // the next one decides
	need(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

func id(t *testing.T, p *ebpf.Program) uint32 {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	n, _ := info.ID()
	return uint32(n)
}

// others attaches a foreign filter with a priority.
func others(t *testing.T, ifindex int, priority uint16) uint32 {
	t.Helper()
	p := program(t)
	if err := netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 7, Priority: priority, Protocol: unix.ETH_P_ALL},
		Fd:          p.FD(), Name: "other", DirectAction: true}); err != nil {
		t.Fatal(err)
	}
	return id(t, p)
}

// programs checks which programs are on the interface, in their order.
func programs(t *testing.T, ifindex int, when string, want ...uint32) {
	t.Helper()
	if got, err := Programs(ifindex, Egress); err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: programs %v, want %v: %v", when, got, want, err)
	}
}

func qdiscs(t *testing.T, ifindex int) (n int) {
	t.Helper()
	all, err := netlink.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: ifindex}})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		if q.Type() == "clsact" {
			n++
		}
	}
	return n
}

// A filter comes, is replaced and goes, and the qdisc that was made for it with it.
func TestFilter(t *testing.T) {
	inLab(t, func(ifindex int) {
		first, second := program(t), program(t)
		f := filter{ifindex: ifindex, hook: Egress, name: "ours", priority: 4433}
		need(t, f.open())
		defer f.close()
		need(t, f.add(first))
		programs(t, ifindex, "added", id(t, first))
		if err := f.add(second); err != nil {
			t.Fatal(err)
		}
		programs(t, ifindex, "replaced", id(t, second))
		if err := f.remove(); err != nil {
			t.Fatal(err)
		}
		programs(t, ifindex, "removed")
		if n := qdiscs(t, ifindex); n != 0 {
			t.Errorf("%d qdiscs are left", n)
		}
		if err := f.remove(); err != nil {
			t.Errorf("removed twice: %v", err)
		}
	})
}

// Filters of others, before and after, stay and keep their order; so does a qdisc that is in use, or was there before.
func TestFilterAmongOthers(t *testing.T) {
	inLab(t, func(ifindex int) {
		need(t, netlink.QdiscAdd(qdisc(ifindex)))
		p := program(t)
		before, after := others(t, ifindex, 10), others(t, ifindex, 9000)
		f := filter{ifindex: ifindex, hook: Egress, name: "ours", priority: 4433}
		need(t, f.open())
		defer f.close()
		need(t, f.add(p))
		programs(t, ifindex, "added", before, id(t, p), after)
		if err := f.remove(); err != nil {
			t.Fatal(err)
		}
		programs(t, ifindex, "removed", before, after)
	})
}

// Links of others, before and after, stay and keep their order.
func TestLinkAmongOthers(t *testing.T) {
	need(t, HaveLinks())
	inLab(t, func(ifindex int) {
		var ids []uint32
		var links []*Attachment
		for range 3 { // the second is ours
			p := program(t)
			a, err := Attach(p, Options{Interface: ifindex, Hook: Egress})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			ids, links = append(ids, id(t, p)), append(links, a)
		}
		programs(t, ifindex, "attached", ids...)
		next := program(t)
		if err := links[1].Update(next); err != nil {
			t.Fatal(err)
		}
		programs(t, ifindex, "updated", ids[0], id(t, next), ids[2])
		if err := links[1].Detach(); err != nil {
			t.Fatal(err)
		}
		programs(t, ifindex, "detached", ids[0], ids[2])
	})
}

// A foreign filter in our place is not touched.
func TestFilterPlaceTaken(t *testing.T) {
	inLab(t, func(ifindex int) {
		p := program(t)
		other := filter{ifindex: ifindex, hook: Egress, name: "other", priority: 4433}
		need(t, other.open())
		defer other.close()
		need(t, other.add(p))
		f := filter{ifindex: ifindex, hook: Egress, name: "ours", priority: 4433}
		need(t, f.open())
		defer f.close()
		if err := f.add(program(t)); err == nil {
			t.Error("added in the place of another's")
		}
		if err := f.remove(); err == nil {
			t.Error("removed another's")
		}
		programs(t, ifindex, "after both", id(t, p))
	})
}

// An attached program stays while pinned, is found by its pin, and ends with Detach: by a link if the kernel has those, and by a filter.
func TestPin(t *testing.T) {
	for _, byFilter := range []bool{false, true} {
		inLab(t, func(ifindex int) {
			p, dir := program(t), t.TempDir()
			need(t, unix.Mount("bpf", dir, "bpf", 0, ""))
			defer unix.Unmount(dir, 0)
			o := Options{Interface: ifindex, Hook: Egress, Name: "ours", Priority: 4433}
			a := &Attachment{filter: o.filter()}
			if byFilter {
				need(t, a.filter.open())
				need(t, a.filter.add(p))
			} else {
				var err error
				a, err = Attach(p, o)
				need(t, err)
			}
			if err := a.Pin(dir, "egress", p); err != nil {
				t.Fatal(err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			programs(t, ifindex, "pinned", id(t, p))
			pins, err := pinfs.Open(dir)
			need(t, err)
			defer pins.Close()
			if byFilter {
				if b, err := Open(pins, "egress", Options{Hook: Egress, Name: "another's"}); !errors.Is(err, pinfs.ErrForeign) {
					t.Errorf("a pin that names another program's filter: %v, %v", b, err)
				}
			}
			b, err := Open(pins, "egress", o)
			if err != nil || b == nil {
				t.Fatalf("open: %v, %v", b, err)
			}
			if at, err := b.Interface(); at != ifindex || err != nil || b.Filter() != (byFilter || HaveLinks() != nil) {
				t.Errorf("on interface %d, by a filter: %v, %v", at, b.Filter(), err)
			}
			next := program(t)
			if err := b.Update(next); err != nil {
				t.Fatal(err)
			}
			programs(t, ifindex, "updated", id(t, next))
			if err := b.Detach(); err != nil {
				t.Fatal(err)
			}
			programs(t, ifindex, "detached")
		})
	}
}
