package bpf

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// MaxTrustedPorts is how many TCP ports TrustTCP takes.
const MaxTrustedPorts = 64

// TrustTCP notes the addresses of peers that finish a TCP handshake with a port of this host, in this network namespace,
// as proved, and keeps them while their connections are in use. It needs cgroup v2, and ends with Close.
func (g *Programs) TrustTCP(ports []uint16) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	if len(ports) > MaxTrustedPorts {
		return fmt.Errorf("trust %d TCP ports: at most %d", len(ports), MaxTrustedPorts)
	}
	root, err := cgroupRoot()
	if err != nil {
		return fmt.Errorf("trust TCP peers: %w", err)
	}
	for _, p := range ports {
		if err := g.maps.TrustedPorts.Put(uint32(p), uint32(1)); err != nil {
			return fmt.Errorf("trust TCP port %d: %w", p, err)
		}
	}
	g.trust, err = link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupSockOps, Program: g.progs.TrustTcp})
	if err != nil {
		return fmt.Errorf("trust TCP peers: attach to %s: %w", root, hint(err))
	}
	return nil
}

// cgroupRoot is where the hierarchy of cgroup v2 is mounted.
func cgroupRoot() (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		if f := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(f) > 4 {
			return f[4], nil
		}
	}
	return "", errors.New("cgroup v2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)")
}

// netnsCookie names this network namespace to programs; 0 where the kernel does not say.
func netnsCookie() uint64 {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return cookie
}
