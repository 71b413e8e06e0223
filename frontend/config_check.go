package frontend

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// rule is a condition that a configuration must not meet, and the error if it does.
type rule struct {
	broken bool
	say    string
	args   []any
}

// firstBroken is the error of the first rule that is broken.
func firstBroken(rules ...rule) error {
	for _, r := range rules {
		if r.broken {
			return hint.Usagef(r.say, r.args...)
		}
	}
	return nil
}

func when(broken bool, say string, args ...any) rule { return rule{broken, say, args} }

// check refuses invalid combinations, group by group.
func (c *Config) check() error {
	for _, group := range []func() error{c.checkNumbers, c.checkServices, c.checkAddresses} {
		if err := group(); err != nil {
			return err
		}
	}
	return nil
}

// checkNumbers checks settings of the whole guard.
func (c *Config) checkNumbers() error {
	return firstBroken(
		when(len(c.Services) == 0, "nothing to protect: give setting listen ADDRESS:PORT and setting backend ADDRESS:PORT, or setting protect ADDRESS:PORT and setting interface NAME, or services in a configuration file"),
		when(c.Workers < 0 || c.Workers > 1024, "setting workers %d: want 1 to 1024", c.Workers),
		when(c.Nice < -20 || c.Nice > 19, "setting worker-nice %d: want -20 (first in line) to 19", c.Nice),
		when(c.Batch < 1 || c.Batch > MaxBatch, "setting batch %d: want 1 to %d, the most that recvmmsg takes", c.Batch, MaxBatch),
		when(c.EngageRate < 0, "setting engage-rate %v: want more than 0", c.EngageRate),
		when(c.AddressLifetime < time.Second || c.AddressLifetime > maxAddressLifetime, "setting address-lifetime %v: want 1s to %v", c.AddressLifetime, maxAddressLifetime),
		when(c.AttackQuiet < time.Second, "setting attack-quiet %v: want 1s or more", c.AttackQuiet),
		when(c.HandshakeTimeout < time.Second, "setting handshake-timeout %v: want 1s or more", c.HandshakeTimeout),
		when(c.ResolveEvery < time.Second, "setting resolve-every %v: want 1s or more", c.ResolveEvery),
		when(c.MaxFlows < 1, "setting max-flows %d: want 1 or more", c.MaxFlows),
		when(c.XDP.Chain != "" && len(c.XDP.Interfaces) > 1, "setting xdp-chain is a place on one interface, and %d are named", len(c.XDP.Interfaces)),
		when(c.ReceiveBuffer < 1, "setting receive-buffer %d: want 1 or more", c.ReceiveBuffer),
	)
}

// checkServices checks the settings of each service.
func (c *Config) checkServices() error {
	proxies := !slices.ContainsFunc(c.Services, func(s Service) bool { return s.Inline() })
	for i := range c.Services {
		s := &c.Services[i]
		o := s.Settings
		inline := s.Inline()
		err := firstBroken(
			when(inline && len(c.XDP.Interfaces) == 0, "setting protect is done by XDP: give setting interface, the one that clients come in by"),
			when(inline && s.Listen.Addr().Is4In6(), "setting protect %v: give the IPv4 address as such: %v", s.Listen, s.Listen.Addr().Unmap()),
			when(len(s.Interfaces) > bpf.MaxServiceInterfaces, "%d interfaces for one service: want at most %d, or none for all", len(s.Interfaces), bpf.MaxServiceInterfaces),
			when(!contains(c.XDP.Interfaces, s.Interfaces), "a service names interfaces %v, and XDP is on %v", s.Interfaces, c.XDP.Interfaces),
			when(o.Answer == bpf.AnswerXDP && len(c.XDP.Interfaces) > 0 && o.secretKey() != c.Services[0].Settings.secretKey(), "setting answer xdp of %s: the programs have the secrets of the first service alone: give it the same setting secret-file or setting rotate-every, or leave setting answer out", s.name()),
			when(inline && !o.Handoff.Inline(), "setting handoff %v needs a socket between guard and server: use setting listen and setting backend, or setting handoff trust", o.Handoff),
			when(o.Handoff.Native() && o.SecretFile == "", "setting handoff %v computes the server's cookies from a secret that both have: give setting secret-file, and the server the same 32 bytes as its key", o.Handoff),
			when(o.RotateEvery < MinRotateEvery, "setting rotate-every %v: want %v or more, so that no handshake sees two rotations", o.RotateEvery, MinRotateEvery),
			when(o.IdleTimeout < time.Second, "setting idle-timeout %v: want 1s or more", o.IdleTimeout),
			when(o.ServiceFlows < 0 || o.ServiceFlows > c.MaxFlows, "setting max-flows %d of %s: want 1 to %d, which is what all services together have", o.ServiceFlows, s.name(), c.MaxFlows),
			when(inline && o.ServiceFlows != 0 && o.ServiceFlows != c.MaxFlows, "setting max-flows %d of %s: XDP keeps the flows of all protected servers in one table: set max-flows for all services together", o.ServiceFlows, s.name()),
			when(o.AttackRate < 0, "setting attack-rate %v: want more than 0, or 0 for ten times what is usual", o.AttackRate),
			when(o.HarvestPool < 0, "setting harvest-pool %d: want 1 or more, or 0 for what is right for the server", o.HarvestPool),
			when(o.HarvestRate < 1, "setting harvest-rate %v: want 1 or more", o.HarvestRate),
			when(proxies && (o.Unverified != bpf.UnverifiedDrop || o.Pass != 0),
				"setting unverified and setting pass are for servers that keep their port (setting protect): a proxy relays nothing but the flows of verified clients"),
			when(o.Unverified == bpf.UnverifiedLimit && o.UnverifiedRate.PerSecond <= 0, "setting unverified-rate %v: want a rate above 0, or setting unverified drop", o.UnverifiedRate.PerSecond),
		)
		if err != nil {
			return err
		}
		for _, b := range s.Backends {
			if err := s.checkBackend(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// contains reports whether all of some are among all.
func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// checkBackend checks the address of a back end.
func (s *Service) checkBackend(b Backend) error {
	host, portText, err := net.SplitHostPort(b.Address)
	if err != nil {
		return hint.Usagef("setting backend %q: want HOST:PORT, with an IPv6 address in [brackets]", b.Address)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	addr, notAddress := netip.ParseAddr(host)
	pool := s.Settings.HarvestPool
	return firstBroken(
		when(err != nil || port == 0 || host == "" || notAddress == nil && addr.IsUnspecified(), "setting backend %v is not the address and port of a server", b.Address),
		when(b.Weight < 1 || b.Weight > MaxWeight, "setting backend %v: weight %d: want 1 to %d", b.Address, b.Weight, MaxWeight),
		when(notAddress == nil && pool > handoff.MaxPoolTowards(addr),
			"setting harvest-pool %d: at most %d towards %v: three quarters of the ephemeral ports (sysctl net.ipv4.ip_local_port_range), or %d on 127.0.0.0/8, less one in 17 in reserve",
			pool, handoff.MaxPoolTowards(addr), addr, handoff.MaxPool),
		when(notAddress == nil && s.Listen == netip.AddrPortFrom(addr.Unmap(), uint16(port)),
			"setting listen and setting backend are both %v: let the server listen on another port", s.Listen),
		when(notAddress == nil && s.Listen.Port() == uint16(port) && receives(s.Listen.Addr(), addr.Unmap()) && thisHost(addr.Unmap()),
			"setting listen %v takes what is sent to setting backend %v: let the server listen on another port", s.Listen, b.Address),
	)
}

// thisHost reports whether an address is one of this host's.
func thisHost(a netip.Addr) bool {
	all, _ := net.InterfaceAddrs()
	return a.IsLoopback() || slices.ContainsFunc(all, func(have net.Addr) bool {
		p, err := netip.ParsePrefix(have.String())
		return err == nil && p.Addr() == a
	})
}

// zoneless is an address and port without the zone of a link-local address.
func zoneless(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

// checkAddresses refuses services that conflict with each other.
func (c *Config) checkAddresses() error {
	seen, names := make(map[netip.AddrPort]bool), make(map[string]bool)
	var proxies []netip.AddrPort
	for _, s := range c.Services {
		flag := "setting listen"
		if s.Inline() {
			flag = "setting protect"
		}
		a := s.Listen
		backends := make(map[string]bool)
		err := firstBroken(
			when(!a.IsValid() || a.Port() == 0 && (s.Inline() || len(c.Services) > 1), "%s %v is not an address and port", flag, a),
			when(seen[a], "%s %v is given twice", flag, a),
			when(len(c.XDP.Interfaces) > 0 && seen[zoneless(a)], "%s %v differs from another one by its zone alone, and XDP does not tell zones apart: leave setting interface out, or give one of them another port", flag, a),
			when(names[s.name()], "two services are named %q: metrics and logs tell services apart by name", s.name()),
		)
		if err != nil {
			return err
		}
		if !s.Inline() {
			if i := slices.IndexFunc(proxies, func(o netip.AddrPort) bool { return overlap(o, a) }); i >= 0 {
				return hint.Add(hint.Usagef("%s %v and %s %v compete for the same datagrams", flag, a, flag, proxies[i]),
					"let each service have its port, or let all of them listen at one address each")
			}
			proxies = append(proxies, a)
		}
		seen[a], seen[zoneless(a)], names[s.name()] = true, true, true
		for _, b := range s.Backends {
			if backends[b.Address] {
				return hint.Usagef("setting listen %v has back end %s twice: give one, with a weight", a, b.Address)
			}
			backends[b.Address] = true
		}
	}
	return nil
}
