package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood"
	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/bench/traffic"
)

func (o *options) open() (engine, error) {
	if o.engine == "xdp" {
		return o.openXDP()
	}
	known := map[string]flood.Kind{"hello": flood.FirstHello, "wrong-cookie": flood.WrongCookie, "junk": flood.Junk}
	var kinds []flood.Kind
	for _, item := range o.traffic {
		k, ok := known[item.Name]
		if !ok {
			return nil, usage("--mix %s: engine sendmmsg sends hello, wrong-cookie and junk only", item.Name)
		}
		kinds = append(kinds, slices.Repeat([]flood.Kind{k}, item.Weight)...)
	}
	f, err := flood.New(flood.Config{Target: o.target, Rate: int(o.rate), Kinds: kinds})
	if err != nil {
		return nil, err
	}
	return sockets{f, o.traffic.Questions()}, nil
}

// sockets is engine sendmmsg.
type sockets struct {
	*flood.Flood
	questions float64 // share of what is sent
}

func (s sockets) run(ctx context.Context) error { s.Run(ctx); return nil }
func (s sockets) close() error                  { return s.Close() }

func (s sockets) counts() (counts, error) {
	c := s.Counts()
	return counts{c.Sent, uint64(float64(c.Sent) * s.questions), c.Unsent, c.Right + c.Wrong, c.Right}, nil
}

// xdp is engine xdp.
type xdp struct {
	generators []*gen.Generator
	counter    *gen.Counter
}

// linger is how long after the last frame answers still count, as they are under way.
const linger = 200 * time.Millisecond

func (x *xdp) run(ctx context.Context) error {
	errs := make([]error, len(x.generators))
	var done sync.WaitGroup
	for i, g := range x.generators {
		done.Go(func() { errs[i] = g.Run(ctx) })
	}
	done.Wait()
	time.Sleep(linger)
	return errors.Join(errs...)
}

func (x *xdp) close() error {
	err := x.counter.Close()
	for _, g := range x.generators {
		err = errors.Join(err, g.Close())
	}
	return err
}

func (x *xdp) counts() (c counts, err error) {
	for _, g := range x.generators {
		sent, questions, err := g.Counts()
		if err != nil {
			return c, err
		}
		c.Sent += sent
		c.Questions += questions
	}
	a, err := x.counter.Answers()
	c.Answers, c.Right = a.All, a.Right
	return c, err
}

func (o *options) openXDP() (engine, error) {
	f, err := o.flow()
	if err != nil {
		return nil, err
	}
	// In the driver, which sees the answers of XDP_TX too; in the stack where it has no place for a program.
	counter, err := gen.Count(*f, gen.Driver)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) || errors.Is(err, ebpf.ErrNotSupported) {
		counter, err = gen.Count(*f, gen.Stack)
	}
	if err != nil {
		return nil, rooted(err)
	}
	x := &xdp{counter: counter}
	pace := traffic.Pace{Rate: o.rate, Limit: o.count}
	late := catchUp
	if o.even {
		late = 0 // the generator's own
	}
	for i := range o.threads {
		share := pace.Split(o.threads, i)
		g, err := gen.NewMix(*f, o.traffic, gen.Options{CPU: o.cpu + i, Batch: o.batch, Limit: share.Limit, CatchUp: late})
		if err != nil {
			return nil, errors.Join(rooted(err), x.close())
		}
		x.generators = append(x.generators, g)
		if err := g.SetRate(share.Rate); err != nil {
			return nil, errors.Join(err, x.close())
		}
	}
	return x, nil
}

// catchUp makes a rate hold on a machine with other things to do, at the price of bursts.
const catchUp = 100 * time.Millisecond

func rooted(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (engine xdp needs root; sendmmsg on loopback does not)", err)
	}
	return err
}

// flow is where frames go and come from.
func (o *options) flow() (*gen.Flow, error) {
	sources := o.sources
	if sources == "" {
		sources = "198.18.128.0/17"
		if o.target.Addr().Is6() {
			sources = "2001:2:0:8000::/96"
		}
	}
	prefix, err := netip.ParsePrefix(sources)
	if err != nil {
		return nil, usage("--src-cidr: %w", err)
	}
	f := &gen.Flow{Destination: o.target, Sources: prefix}
	if o.ports != "" {
		if n, err := fmt.Sscanf(o.ports, "%d-%d", &f.Ports.First, &f.Ports.Last); n != 2 {
			return nil, usage("--src-ports %s: want FIRST-LAST: %w", o.ports, err)
		}
	}
	if o.mac != "" {
		if f.Peer, err = net.ParseMAC(o.mac); err != nil {
			return nil, usage("-m: %w", err)
		}
	}
	if o.engine == "pcap" && o.iface == "" { // the player knows its own
		f.Interface = &net.Interface{HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	} else if f.Interface, err = net.InterfaceByName(o.iface); err != nil {
		return nil, usage("-i %s: %w", o.iface, err)
	}
	switch {
	case f.Peer != nil:
	case o.engine == "pcap":
		f.Peer = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	default:
		if f.Peer, err = neighbour(f.Interface, o.target.Addr()); err != nil {
			return nil, err
		}
	}
	if err := f.Check(); err != nil {
		return nil, usageError{err}
	}
	return f, nil
}

// neighbour asks the kernel for the Ethernet address of an address on the interface's network.
func neighbour(dev *net.Interface, a netip.Addr) (net.HardwareAddr, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	all, err := netlink.NeighList(dev.Index, family)
	if err != nil {
		return nil, fmt.Errorf("list neighbours of %s: %w", dev.Name, err)
	}
	for _, n := range all {
		if n.IP.Equal(a.AsSlice()) && len(n.HardwareAddr) == 6 {
			return n.HardwareAddr, nil
		}
	}
	return nil, fmt.Errorf("the Ethernet address of %v is not known on %s: ping it first, or give it with -m", a, dev.Name)
}
