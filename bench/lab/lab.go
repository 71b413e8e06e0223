// Package lab makes the network that tests and benchmarks of XDP run in: three network namespaces in a row,
// joined by veth pairs, with addresses of the benchmarking ranges (RFC 2544, RFC 5180).
//
//	client  198.18.0.2/24 ── 198.18.0.1/24  guard  198.18.1.1/24 ── 198.18.1.2/24  server
//	        2001:2:0:0::2    2001:2:0:0::1         2001:2:0:1::1    2001:2:0:1::2
//
// A server that is protected inline runs in the guard's namespace. Nothing outside the namespaces is touched.
// A lab is named after the process that made it; one whose process is dead is removed by the next New. The
// host end of each link has a native XDP program that passes all, because veth delivers what the other end
// sends by XDP_TX only to such a one (measured on Linux 6.18).
//
// New needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF. A Lab is not for concurrent use, its Hosts are.
package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// prefix of the namespaces' names: prefix, process, number, role.
const prefix = "dtlsguard-"

// where named namespaces are (ip-netns(8)).
const netnsDir = "/run/netns"

// Lab is a network.
type Lab struct {
	Client, Guard, Server *Host
	hosts                 []*Host
}

var count atomic.Int32

// New makes a lab. On an error nothing is left of it.
func New() (*Lab, error) {
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("remove the lab of a dead process: %w", err)
	}
	l := &Lab{}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) build() error {
	name := fmt.Sprintf("%s%d-%d-", prefix, os.Getpid(), count.Add(1))
	for _, h := range []struct {
		to   **Host
		role string
	}{{&l.Client, "client"}, {&l.Guard, "guard"}, {&l.Server, "server"}} {
		host, err := newHost(name + h.role)
		if err != nil {
			return err
		}
		*h.to = host
		l.hosts = append(l.hosts, host)
	}
	if err := join(l.Client, l.Guard, "client0", "guard0", 0); err != nil {
		return err
	}
	if err := join(l.Server, l.Guard, "server0", "guard1", 1); err != nil {
		return err
	}
	return l.Guard.Do(func() error {
		for _, f := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+f, []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// Close removes the namespaces and what is in them. Processes started in them must have ended.
func (l *Lab) Close() error {
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.close())
	}
	l.hosts = nil
	return errors.Join(errs...)
}

// sweep removes labs whose process is dead.
func sweep() error {
	names, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range names {
		name := filepath.Base(path)
		text, _, _ := strings.Cut(strings.TrimPrefix(name, prefix), "-")
		pid, err := strconv.Atoi(text)
		if err != nil || unix.Kill(pid, 0) == nil || errors.Is(unix.Kill(pid, 0), unix.EPERM) {
			continue // not of our making, or alive
		}
		if err := netns.DeleteNamed(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// join links a host to the guard on network n, and routes all else by the guard.
func join(host, guard *Host, hostDev, guardDev string, n byte) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Namespace = hostDev, netlink.NsFd(int(host.ns))
	link := netlink.NewVeth(attrs)
	link.PeerName, link.PeerNamespace = guardDev, netlink.NsFd(int(guard.ns))
	if err := guard.handle.LinkAdd(link); err != nil {
		return fmt.Errorf("make veth %s - %s: %w", hostDev, guardDev, err)
	}
	if err := guard.up(guardDev, n, 1); err != nil {
		return err
	}
	if err := host.up(hostDev, n, 2); err != nil {
		return err
	}
	for _, to := range []string{"198.18.0.0/15", "2001:2::/48"} {
		via := addresses(n, 1)[0]
		if netip.MustParsePrefix(to).Addr().Is6() {
			via = addresses(n, 1)[1]
		}
		route := &netlink.Route{Dst: ipNet(netip.MustParsePrefix(to)), Gw: via.Addr().AsSlice()}
		if err := host.handle.RouteAdd(route); err != nil {
			return fmt.Errorf("route %s in %s: %w", to, host.Name, err)
		}
	}
	return host.passXDP(hostDev)
}

// addresses of host h on network n: IPv4, IPv6.
func addresses(n, h byte) [2]netip.Prefix {
	v6 := netip.MustParseAddr("2001:2::").As16()
	v6[7], v6[15] = n, h
	return [2]netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, n, h}), 24),
		netip.PrefixFrom(netip.AddrFrom16(v6), 64),
	}
}
