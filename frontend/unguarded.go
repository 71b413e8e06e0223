package frontend

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// UnguardedHint is what to do about interfaces without programs.
const UnguardedHint = "guard them, too (setting interface, once for each), or drop the service's port on them (nft add rule inet filter input iifname OTHER udp dport PORT drop) and say so with setting allow-unguarded"

// Unguarded lists the interfaces that packets may come in by past the programs on the guarded ones: a host takes a packet for
// any of its addresses by any of its interfaces.
func Unguarded(guarded ...string) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	return entrances(links, guarded), nil
}

// entrances are the interfaces among links that are up and that no guarded one stands before.
func entrances(links []netlink.Link, guarded []string) (names []string) {
	e := entries{links: make(map[int]netlink.Link), ports: make(map[int][]netlink.Link), guarded: guarded}
	for _, l := range links {
		e.links[l.Attrs().Index] = l
		if m := l.Attrs().MasterIndex; m != 0 {
			e.ports[m] = append(e.ports[m], l)
		}
	}
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagUp != 0 && a.Flags&net.FlagLoopback == 0 && !e.port(l) && !e.covered(l) {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
}

// entries is what is known of the links of a host while its entrances are looked for.
type entries struct {
	links   map[int]netlink.Link
	ports   map[int][]netlink.Link // by the index of their master
	guarded []string
}

// port reports whether packets of l are taken in by a bridge, bond or team that it is part of. Members of a VRF take theirs
// in themselves.
func (e *entries) port(l netlink.Link) bool {
	m := e.links[l.Attrs().MasterIndex]
	return m != nil && m.Type() != "vrf"
}

// covered reports whether the programs see what comes in by l.
func (e *entries) covered(l netlink.Link) bool {
	if slices.Contains(e.guarded, l.Attrs().Name) {
		return true
	}
	switch l.Type() {
	case "dummy", "vrf": // nothing comes in by it
		return true
	case "vlan", "macvlan", "ipvlan": // what it takes in came in by its parent, where XDP sees it, tags and all
		parent := e.links[l.Attrs().ParentIndex]
		return l.Attrs().NetNsID < 0 && parent != nil && e.covered(parent)
	case "bridge", "bond", "team": // of one without ports, nothing
		return !slices.ContainsFunc(e.ports[l.Attrs().Index], func(p netlink.Link) bool { return !e.covered(p) })
	}
	return false
}

// guardedOn are the interfaces that a service is guarded on.
func (v *service) guardedOn() (names []string) {
	for _, d := range v.kernel.devicesOf(v) {
		names = append(names, d.at().Name) // that it has now
	}
	return names
}

// unguarded are the interfaces among links that lead to the service past the programs.
func (v *service) unguarded(links []netlink.Link) []string {
	if v.listen.Addr().IsLoopback() { // no packet for it comes in from outside (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3)
		return nil
	}
	return entrances(links, v.guardedOn())
}

// trusts reports whether the server takes any cookie, because the guard looks at them before: reached past the guard, it has
// no protection at all. Every other one has what it had without a guard.
func (v *service) trusts() bool {
	s := v.now.Load()
	mode := s.settings.Handoff
	if s.fit != nil {
		mode = s.fit.Mode
	}
	return mode == handoff.Trust || mode == handoff.Replay
}

// reachable says that an inline server that trusts the guard can be reached without it, by other interfaces; nil if it
// cannot, or somebody has answered for that.
func (v *service) reachable(others []string) error {
	if v.kernel.config.AllowUnguarded || len(others) == 0 || v.now.Load().settings.Monitor || !v.trusts() {
		return nil
	}
	return hint.Errorf(UnguardedHint, "the server takes any cookie and can be reached past the guard by %s", strings.Join(others, ", "))
}

// ways are the interfaces that lead past the programs, as the last look has seen.
func (v *service) ways() []string {
	if others := v.others.Load(); others != nil {
		return *others
	}
	return nil
}

// mayStandOpen refuses a service that is to trust the guard and can be reached without it.
func (k *kernel) mayStandOpen(v *service) error {
	if k == nil || !v.inline {
		return nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	if err := v.reachable(v.unguarded(links)); err != nil {
		return hint.Errorf(hint.Of(err), "%s: %w", v.name, err)
	}
	return nil
}
