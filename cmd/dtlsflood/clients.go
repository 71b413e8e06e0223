package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bench/flood/sample"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// clients are the sampled clients beside a flood; the zero value has none.
type clients struct{ *sample.Sample }

func (o *options) openClients() (clients, error) {
	if o.report.sample == 0 {
		return clients{}, nil
	}
	source, err := o.clientSource()
	if err != nil {
		return clients{}, err
	}
	c := sample.Config{Target: o.target.addr, Source: source, Rate: o.report.sample, Return: o.report.giveBack, Hello: traffic.Captured("openssl-dtls12:1")}
	if len(o.traffic.own) == 1 { // a first fragment has no place for a cookie
		c.Hello = o.traffic.own[0]
	}
	s, err := sample.New(c)
	if err != nil {
		return clients{}, fmt.Errorf("%w (--sample 0 does without)", err)
	}
	return clients{s}, nil
}

// clientSource assigns each client an address: on IPv4 loopback any one, elsewhere those of the interface in turn.
func (o *options) clientSource() (func() netip.Addr, error) {
	target := o.target.addr.Addr()
	switch {
	case target.Is4() && target.IsLoopback():
		return func() netip.Addr {
			r := rand.Uint32()
			return netip.AddrFrom4([4]byte{127, 1 + byte(r>>16)%254, byte(r >> 8), 1 + byte(r)%254})
		}, nil
	case target.IsLoopback():
		return func() netip.Addr { return target }, nil
	}
	own, err := o.ownAddresses()
	if err != nil {
		return nil, err
	}
	next := 0
	return func() netip.Addr {
		next++
		return own[next%len(own)]
	}, nil
}

// ownAddresses are the interface's addresses that reach the target and are not sources of the flood, whose answers go to
// the engine.
func (o *options) ownAddresses() (own []netip.Addr, err error) {
	dev, err := device(o.target.iface)
	if err != nil {
		return nil, err
	}
	all, err := dev.Addrs()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", o.target.iface, err)
	}
	f := traffic.Flow{Destination: o.target.addr}
	if err := o.from(&f); err != nil {
		return nil, err
	}
	for _, p := range prefixes(all) {
		if a := p.Addr(); a.Is4() == o.target.addr.Addr().Is4() && !a.IsLinkLocalUnicast() && !f.Sources.Contains(a) {
			own = append(own, a)
		}
	}
	if own == nil {
		return nil, hint.Usagef("%s has no address for sampled clients to reach %v from that is not in %v, the flood's sources (--sample 0 does without)", o.target.iface, o.target.addr, f.Sources)
	}
	return own, nil
}

func (c clients) run(ctx context.Context) error {
	if c.Sample == nil {
		return nil
	}
	return c.Run(ctx)
}

// take returns the outcomes of clients since the last call, and of all; nil if there are none.
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
