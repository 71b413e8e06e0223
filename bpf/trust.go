package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// MaxTrustedPorts is how many TCP ports TrustTCP takes.
const MaxTrustedPorts = 64

// TrustTCP notes the addresses of peers that finish a TCP handshake with a port of this host, in this network namespace,
// as proved, and keeps them while their connections are in use. It needs cgroup v2. Where there are pins it outlives the process,
// and the next one takes it over; without ports it takes that off.
func (g *Programs) TrustTCP(ports []uint16) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	if len(ports) > MaxTrustedPorts {
		return fmt.Errorf("trust %d TCP ports: at most %d", len(ports), MaxTrustedPorts)
	}
	if len(ports) == 0 {
		return g.unpinTrust()
	}
	if err := g.setTrustedPorts(ports); err != nil {
		return err
	}
	if g.trust = g.adoptTrust(); g.trust == nil {
		root, err := cgroupRoot()
		if err != nil {
			return fmt.Errorf("trust TCP peers: %w", err)
		}
		g.trust, err = link.AttachCgroup(link.CgroupOptions{Path: root, Attach: ebpf.AttachCGroupSockOps, Program: g.progs.TrustTcp})
		if err != nil {
			return fmt.Errorf("trust TCP peers: attach to %s: %w", root, hint(err))
		}
	}
	for _, path := range g.trustDirs() { // that Attach may take over
		if err := g.repinTrust(path); err != nil {
			return fmt.Errorf("trust TCP peers: %w", err)
		}
	}
	return nil
}

// repinTrust pins the link in a directory, if there is one, in place of an earlier process's.
func (g *Programs) repinTrust(dir string) error {
	there, err := pinfs.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unlink(there.Path(pinTrust)); err != nil {
		return err
	}
	return g.pinTrust(there.Path("."))
}

// trustDirs are where an earlier process may have pinned its link.
func (g *Programs) trustDirs() (paths []string) {
	if g.pin == "" {
		return nil
	}
	for _, iface := range g.options.Interfaces {
		paths = append(paths, PinDir(g.pin, iface))
	}
	return paths
}

// adoptTrust takes over the link of an earlier process, which gets the program of this one; nil if there is none.
func (g *Programs) adoptTrust() link.Link {
	for _, path := range g.trustDirs() {
		dir, err := pinfs.Open(path)
		if err != nil {
			continue
		}
		l, err := dir.Link(pinTrust)
		_ = dir.Close()
		if err != nil {
			continue
		}
		if l.Update(g.progs.TrustTcp) == nil {
			return l
		}
		_ = l.Close()
	}
	return nil
}

// unpinTrust takes off what an earlier process left.
func (g *Programs) unpinTrust() (err error) {
	for _, path := range g.trustDirs() {
		dir, failed := pinfs.Open(path)
		if errors.Is(failed, os.ErrNotExist) {
			continue
		}
		if failed == nil {
			failed = errors.Join(unlink(dir.Path(pinTrust)), dir.Close())
		}
		err = errors.Join(err, failed)
	}
	return err
}

func unlink(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// pinTrust pins the link of TrustTCP, if there is one, in a directory, by a handle that no one else has: each directory keeps
// it attached by itself.
func (g *Programs) pinTrust(dir string) error {
	if g.trust == nil {
		return nil
	}
	return pinLink(g.trust, filepath.Join(dir, pinTrust))
}

// setTrustedPorts makes the ports those whose peers are trusted: adopted maps may have others.
func (g *Programs) setTrustedPorts(ports []uint16) error {
	for _, p := range ports {
		if err := g.maps.TrustedPorts.Put(uint32(p), uint32(1)); err != nil {
			return fmt.Errorf("trust TCP port %d: %w", p, err)
		}
	}
	var port, one uint32
	var stale []uint32
	it := g.maps.TrustedPorts.Iterate()
	for it.Next(&port, &one) {
		if !slices.Contains(ports, uint16(port)) {
			stale = append(stale, port)
		}
	}
	err := it.Err()
	for _, p := range stale {
		err = errors.Join(err, g.maps.TrustedPorts.Delete(p))
	}
	if err != nil {
		return fmt.Errorf("trust other TCP ports no more: %w", err)
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
