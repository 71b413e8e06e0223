package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Interfaces, each named after the namespace at the other end.
const (
	ToMiddle = "guard0" // of client and of server
	ToClient = "client0"
	ToServer = "server0"
)

// Addresses.
var (
	Client4       = netip.MustParseAddr("198.18.0.2")
	Client6       = netip.MustParseAddr("2001:2:0:1::2")
	Middle4       = netip.MustParseAddr("198.18.0.1")
	Middle6       = netip.MustParseAddr("2001:2:0:1::1")
	MiddleServer4 = netip.MustParseAddr("198.18.1.1")
	MiddleServer6 = netip.MustParseAddr("2001:2:0:2::1")
	Server4       = netip.MustParseAddr("198.18.1.2")
	Server6       = netip.MustParseAddr("2001:2:0:2::2")
)

// prefix begins the names of all labs; the number of the process follows.
const prefix = "dtlsguard-lab-"

// Lab is a network.
type Lab struct {
	Client, Middle, Server *Namespace

	links []link.Link
	progs []*ebpf.Program
}

// New makes a lab, after removing those that dead processes left. label distinguishes several labs of a process.
func New(label string) (*Lab, error) {
	if err := errors.Join(shareNames(), removeStale()); err != nil {
		return nil, fmt.Errorf("make lab: %w", err)
	}
	l := new(Lab)
	if err := l.build(label); err != nil {
		return nil, fmt.Errorf("make lab: %w", errors.Join(err, l.Close()))
	}
	return l, nil
}

func (l *Lab) build(label string) error {
	for _, n := range []struct {
		role string
		ns   **Namespace
	}{{"client", &l.Client}, {"guard", &l.Middle}, {"server", &l.Server}} {
		var err error
		if *n.ns, err = newNamespace(fmt.Sprintf("%s%d-%s-%s", prefix, os.Getpid(), label, n.role)); err != nil {
			return err
		}
	}
	if err := wire(l.Client, ToMiddle, l.Middle, ToClient); err != nil {
		return err
	}
	if err := wire(l.Middle, ToServer, l.Server, ToMiddle); err != nil {
		return err
	}
	for _, a := range []struct {
		ns    *Namespace
		iface string
		addrs []string
	}{
		{l.Client, ToMiddle, []string{Client4.String() + "/24", Client6.String() + "/64"}},
		{l.Middle, ToClient, []string{Middle4.String() + "/24", Middle6.String() + "/64"}},
		{l.Middle, ToServer, []string{MiddleServer4.String() + "/24", MiddleServer6.String() + "/64"}},
		{l.Server, ToMiddle, []string{Server4.String() + "/24", Server6.String() + "/64"}},
	} {
		if err := a.ns.address(a.iface, a.addrs...); err != nil {
			return err
		}
	}
	return errors.Join(
		l.Client.gateway(Middle4, Middle6), l.Server.gateway(MiddleServer4, MiddleServer6),
		l.Middle.sysctl("ipv4/ip_forward", "1"), l.Middle.sysctl("ipv6/conf/all/forwarding", "1"),
		l.PassXDP(l.Client, ToMiddle))
}

// wire creates a veth pair.
func wire(a *Namespace, ifa string, b *Namespace, ifb string) error {
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: ifa}, PeerName: ifb, PeerNamespace: netlink.NsFd(b.h)}
	if err := a.nl.LinkAdd(v); err != nil {
		return fmt.Errorf("make veth %s in %s: %w", ifa, a.Name, err)
	}
	for _, end := range []struct {
		ns   *Namespace
		name string
	}{{a, ifa}, {b, ifb}} {
		dev, err := end.ns.nl.LinkByName(end.name)
		if err == nil {
			err = end.ns.nl.LinkSetUp(dev)
		}
		if err != nil {
			return fmt.Errorf("set %s up in %s: %w", end.name, end.ns.Name, err)
		}
	}
	return nil
}

// address adds addresses to an interface that are usable at once.
func (n *Namespace) address(iface string, addrs ...string) error {
	dev, err := n.nl.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", iface, n.Name, err)
	}
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD // there are no duplicates, and detection takes a second
		if err := n.nl.AddrAdd(dev, addr); err != nil {
			return fmt.Errorf("add %s to %s in %s: %w", a, iface, n.Name, err)
		}
	}
	return nil
}

func (n *Namespace) gateway(via ...netip.Addr) error {
	for _, a := range via {
		if err := n.nl.RouteAdd(&netlink.Route{Gw: a.AsSlice()}); err != nil {
			return fmt.Errorf("route by %v in %s: %w", a, n.Name, err)
		}
	}
	return nil
}

// PassXDP attaches a program that passes everything to an interface, until the lab is closed.
func (l *Lab) PassXDP(n *Namespace, iface string) error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pass", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()}})
	if err != nil {
		return fmt.Errorf("load passing XDP program: %w", err)
	}
	l.progs = append(l.progs, prog)
	dev, err := n.nl.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", iface, n.Name, err)
	}
	return n.Do(func() error {
		x, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.Attrs().Index, Flags: link.XDPDriverMode})
		if err != nil {
			return fmt.Errorf("attach passing XDP program to %s in %s: %w", iface, n.Name, err)
		}
		l.links = append(l.links, x)
		return nil
	})
}

// VLAN creates a tagged interface on iface, with an address, and returns its name.
func (n *Namespace) VLAN(iface string, id int, addrs ...string) (string, error) {
	dev, err := n.nl.LinkByName(iface)
	if err != nil {
		return "", fmt.Errorf("find %s in %s: %w", iface, n.Name, err)
	}
	name := fmt.Sprintf("%s.%d", iface, id)
	v := &netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: dev.Attrs().Index}, VlanId: id}
	if err := n.nl.LinkAdd(v); err != nil {
		return "", fmt.Errorf("make VLAN %s in %s: %w", name, n.Name, err)
	}
	if err := n.nl.LinkSetUp(v); err != nil {
		return "", fmt.Errorf("set %s up in %s: %w", name, n.Name, err)
	}
	return name, n.address(name, addrs...)
}

// Close removes everything that New created.
func (l *Lab) Close() error {
	var errs []error
	for _, x := range l.links {
		errs = append(errs, x.Close())
	}
	for _, p := range l.progs {
		errs = append(errs, p.Close())
	}
	for _, n := range []*Namespace{l.Client, l.Middle, l.Server} {
		if n != nil {
			errs = append(errs, n.remove())
		}
	}
	return errors.Join(errs...)
}

// removeStale removes the namespaces of labs whose process has ended.
func removeStale() error {
	entries, err := os.ReadDir(names)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, _, ok := strings.Cut(strings.TrimPrefix(e.Name(), prefix), "-")
		pid, err := strconv.Atoi(number)
		if !strings.HasPrefix(e.Name(), prefix) || !ok || err != nil {
			continue
		}
		if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
			err := netns.DeleteNamed(e.Name())
			if errors.Is(err, unix.EINVAL) { // a name without a namespace: its creator died between the two, or had its own mounts
				err = os.Remove(filepath.Join(names, e.Name()))
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove stale namespace %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}
