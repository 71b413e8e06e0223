package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bench/sample"
	"github.com/dtlsguard/dtlsguard/bench/traffic"
)

// clients are the sampled clients beside a flood; the zero value has none.
type clients struct{ *sample.Sample }

func (o *options) openClients() (clients, error) {
	if o.sample == 0 {
		return clients{}, nil
	}
	source, err := o.clientSource()
	if err != nil {
		return clients{}, err
	}
	c := sample.Config{Target: o.target, Source: source, Rate: o.sample, Return: o.giveBack, Hello: traffic.Captured("openssl-dtls12:1")}
	if len(o.ownHello) == 1 { // one in fragments has no place for a cookie
		c.Hello = o.ownHello[0]
	}
	s, err := sample.New(c)
	if err != nil {
		return clients{}, fmt.Errorf("%w (--sample 0 does without)", err)
	}
	return clients{s}, nil
}

// clientSource gives each client its address: on IPv4 loopback any, elsewhere those that the interface has, in turn.
func (o *options) clientSource() (func() netip.Addr, error) {
	target := o.target.Addr()
	switch {
	case target.Is4() && target.IsLoopback():
		return func() netip.Addr {
			r := rand.Uint32()
			return netip.AddrFrom4([4]byte{127, 1 + byte(r>>16)%254, byte(r >> 8), 1 + byte(r)%254})
		}, nil
	case target.IsLoopback():
		return func() netip.Addr { return target }, nil
	}
	dev, err := net.InterfaceByName(o.iface)
	if err != nil {
		return nil, usage("-i %s: %w", o.iface, err)
	}
	all, err := dev.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", o.iface, err)
	}
	var own []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() == target.Is4() && !p.Addr().IsLinkLocalUnicast() {
			own = append(own, p.Addr())
		}
	}
	if own == nil {
		return nil, usage("%s has no address for sampled clients to reach %v from (--sample 0 does without)", o.iface, target)
	}
	next := 0
	return func() netip.Addr {
		next++
		return own[next%len(own)]
	}, nil
}

func (c clients) run(ctx context.Context) error {
	if c.Sample == nil {
		return nil
	}
	return c.Run(ctx)
}

// take is what became of clients since the last time, and of all; nil if there are none.
func (c clients) take() (since, all *sample.Report) {
	if c.Sample == nil {
		return nil, nil
	}
	s, a := c.Take()
	return &s, &a
}

func (c clients) close() error {
	if c.Sample == nil {
		return nil
	}
	return c.Close()
}
