package frontend

import (
	"fmt"
	"net"
	"slices"
)

// UnguardedHint is what to do about interfaces without programs.
const UnguardedHint = "drop the service's port on them (nft add rule inet filter input iifname OTHER udp dport PORT drop), or put a proxy in front of the server"

// Unguarded lists the interfaces that are up, besides the guarded one: a host takes a packet for any of its addresses by any
// of its interfaces, so what comes in by those reaches a protected address unchecked.
func Unguarded(guarded string) ([]string, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var names []string
	for _, i := range all {
		if i.Name != guarded && i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 {
			names = append(names, i.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// warnUnguarded says that protected servers can be reached past the programs.
func (k *kernel) warnUnguarded(services []*service) {
	if !slices.ContainsFunc(services, func(v *service) bool { return v.inline }) {
		return
	}
	if others, err := Unguarded(k.config.Interface); err == nil && len(others) > 0 {
		k.log.Warn("protected servers can be reached unchecked by interfaces without XDP", "guarded", k.config.Interface, "others", others, "hint", UnguardedHint)
	}
}
