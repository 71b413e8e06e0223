package bpf

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// dispatcher puts a root program on an interface that calls the first program of an array and lets pass what that does not
// have, and pins the array.
func dispatcher(t *testing.T, l *lab.Lab) (array *ebpf.Map, path string) {
	t.Helper()
	dir := t.TempDir()
	need(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	array, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	need(t, err)
	t.Cleanup(func() { array.Close() })
	path = dir + "/root_array"
	need(t, array.Pin(path))
	var code asm.Instructions
	code = append(code, asm.Mov.Reg(asm.R6, asm.R1))
	for i := range int32(4) {
		code = append(code, asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMapPtr(asm.R2, array.FD()), asm.Mov.Imm(asm.R3, i), asm.FnTailCall.Call())
	}
	code = append(code, asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return())
	root, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "root", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "Dual BSD/GPL", Instructions: code})
	need(t, err)
	t.Cleanup(func() { root.Close() })
	need(t, l.Middle.Do(func() error {
		dev, err := net.InterfaceByName(lab.ToClient)
		if err != nil {
			return err
		}
		x, err := link.AttachXDP(link.XDPOptions{Program: root, Interface: dev.Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { x.Close() })
		}
		return err
	}))
	return array, path
}

// The guard takes a place in a root program's array, a dead guard's if there is one, decides on
// packets there, and leaves it; other programs of the array stay.
func TestChain(t *testing.T) {
	l := newLab(t)
	array, path := dispatcher(t, l)
	spec := emptyXDP()
	spec.AttachType = ebpf.AttachXDP // as loaders do for the section "xdp"; since Linux 6.18 programs of one array must agree
	other, err := ebpf.NewProgram(spec)
	need(t, err)
	defer other.Close()
	need(t, array.Put(uint32(1), uint32(other.FD())))
	holds := func(when string, want ...bool) {
		t.Helper()
		for i, w := range want {
			var id uint32
			if err := array.Lookup(uint32(i), &id); (err == nil) != w {
				t.Errorf("%s: place %d: %v, want one: %v", when, i, err, w)
			}
		}
	}
	for range 2 {
		g := guarding(t, inline())
		attachChain := func(g *Programs) (mode AttachMode, err error) {
			err = l.Middle.Do(func() (err error) { mode, err = g.AttachChain(lab.ToClient, path); return err })
			return mode, err
		}
		if mode, err := attachChain(g); err != nil || mode != AttachNative {
			t.Fatalf("mode %v, %v", mode, err)
		}
		holds("attached", true, true, false)
		second := guarding(t, inline())
		if _, err := attachChain(second); err != nil { // as one that finds the place of a dead one
			t.Fatal(err)
		}
		holds("attached again", true, true, false)
		if err := g.Detach(); err != nil {
			t.Fatal(err)
		}
		holds("the place is another's now", true, true, false)
		if err := second.Detach(); err != nil {
			t.Fatal(err)
		}
		holds("detached", false, true, false)
	}
}

// A guard whose element another guard has taken says so, and does not fight for it; it fills the element again when that is empty.
func TestChainIsLost(t *testing.T) {
	l := newLab(t)
	array, path := dispatcher(t, l)
	first, second := guarding(t, inline()), guarding(t, inline())
	still := func(g *Programs) (err error) {
		need(t, l.Middle.Do(func() error { _, err = g.Still(lab.ToClient); return nil }))
		return err
	}
	need(t, l.Middle.Do(func() error { _, err := first.AttachChain(lab.ToClient, path); return err }))
	if err := still(first); err != nil {
		t.Error("attached:", err)
	}
	need(t, l.Middle.Do(func() error { _, err := second.AttachChain(lab.ToClient, path); return err }))
	if err := still(first); err == nil || errors.Is(err, ErrOff) || !strings.Contains(err.Error(), "another guard") {
		t.Error("taken by another guard:", err)
	}
	if err := still(second); err != nil {
		t.Error("the other guard:", err)
	}
	need(t, second.Detach())
	if err := still(first); !errors.Is(err, ErrOff) {
		t.Error("emptied:", err)
	}
	need(t, l.Middle.Do(func() error { _, err := first.AttachAgain(lab.ToClient, AttachAuto); return err }))
	var id uint32
	if err := errors.Join(still(first), array.Lookup(uint32(0), &id)); err != nil {
		t.Error("attached again:", err)
	}
}

func TestChainRefusals(t *testing.T) {
	l := newLab(t)
	g := guarding(t, inline())
	err := l.Middle.Do(func() error { _, err := g.AttachChain(lab.ToClient, "/nowhere"); return err })
	if err == nil {
		t.Error("attached without a root program")
	}
	_, path := dispatcher(t, l)
	if err := l.Middle.Do(func() error { _, err := g.AttachChain(lab.ToClient, path+"x"); return err }); err == nil {
		t.Error("attached to no array")
	}
}
