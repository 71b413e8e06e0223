package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is a network namespace.
type Host struct {
	Name string // as ip-netns(8) shows it
	// Addresses of its links, those towards the client first: IPv4 and IPv6 of each.
	Addresses []netip.Addr
	// Devices are its links, the one towards the client first.
	Devices []string

	ns     netns.NsHandle
	handle *netlink.Handle
	pass   []link.Link
}

func newHost(name string) (*Host, error) {
	h := &Host{Name: name, ns: netns.None()}
	err := onThread(func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		if h.ns, err = netns.NewNamed(name); err != nil {
			return err
		}
		return netns.Set(home)
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	if h.handle, err = netlink.NewHandleAt(h.ns); err != nil {
		return nil, errors.Join(fmt.Errorf("talk to network namespace %s: %w", name, err), h.close())
	}
	lo, err := h.handle.LinkByName("lo")
	if err == nil {
		err = h.handle.LinkSetUp(lo)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("loopback of %s: %w", name, err), h.close())
	}
	return h, nil
}

func (h *Host) close() error {
	for _, l := range h.pass {
		l.Close()
	}
	if h.handle != nil {
		h.handle.Close()
	}
	return errors.Join(netns.DeleteNamed(h.Name), h.ns.Close())
}

// up brings a link up with its addresses. Without duplicate address detection, which takes a second.
func (h *Host) up(dev string, n, host byte) error {
	l, err := h.handle.LinkByName(dev)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", dev, h.Name, err)
	}
	for _, p := range addresses(n, host) {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.handle.AddrAdd(l, a); err != nil {
			return fmt.Errorf("give %s %v: %w", dev, p, err)
		}
		h.Addresses = append(h.Addresses, p.Addr())
	}
	h.Devices = append(h.Devices, dev)
	if err := h.handle.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", dev, err)
	}
	return nil
}

// passXDP attaches a native program that passes all.
func (h *Host) passXDP(dev string) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "pass", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load a program that passes all: %w", err)
	}
	defer p.Close()
	return h.Do(func() error {
		i, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: i.Index, Flags: link.XDPDriverMode})
		if err != nil {
			return fmt.Errorf("attach a program that passes all to %s: %w", dev, err)
		}
		h.pass = append(h.pass, l)
		return nil
	})
}

// Do calls f on a thread inside the host's namespace. Sockets that f opens stay in it; goroutines that f starts
// are not in it.
func (h *Host) Do(f func() error) error {
	return onThread(func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		if err := netns.Set(h.ns); err != nil {
			return fmt.Errorf("enter %s: %w", h.Name, err)
		}
		return errors.Join(f(), netns.Set(home))
	})
}

// Start starts a command inside the host's namespace; all else of it is as the command was made.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// Path is the namespace as a file, for nsenter(1).
func (h *Host) Path() string { return filepath.Join(netnsDir, h.Name) }

// onThread calls f on a locked thread. If f fails the thread may be left in a strange namespace: it stays
// locked, and ends with its goroutine.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := f()
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
