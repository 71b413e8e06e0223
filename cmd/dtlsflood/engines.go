package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood"
	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

func (o *options) open() (engine, error) {
	if o.engine == "xdp" {
		return o.openXDP()
	}
	kinds := map[string]flood.Kind{"hello": flood.FirstHello, "wrong-cookie": flood.WrongCookie, "junk": flood.Junk}
	f, err := flood.New(flood.Config{Target: o.target, Rate: int(o.rate), Kinds: []flood.Kind{kinds[o.kind]}})
	if err != nil {
		return nil, err
	}
	return sockets{f}, nil
}

// sockets is engine sendmmsg.
type sockets struct{ *flood.Flood }

func (s sockets) run(ctx context.Context) error { s.Run(ctx); return nil }
func (s sockets) close() error                  { return s.Close() }

func (s sockets) counts() (counts, error) {
	c := s.Counts()
	return counts{c.Sent, c.Unsent, c.Right + c.Wrong, c.Right}, nil
}

// xdp is engine xdp.
type xdp struct {
	generator *gen.Generator
	counter   *gen.Counter
}

func (x *xdp) run(ctx context.Context) error { return x.generator.Run(ctx) }

func (x *xdp) close() error { return errors.Join(x.generator.Close(), x.counter.Close()) }

func (x *xdp) counts() (c counts, err error) {
	if c.Sent, err = x.generator.Sent(); err != nil {
		return c, err
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
	t, err := o.template()
	if err != nil {
		return nil, usageError{err}
	}
	// In the driver, which sees the answers of XDP_TX too; in the stack where it has no place for a program.
	counter, err := gen.Count(*f, gen.Driver)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) || errors.Is(err, ebpf.ErrNotSupported) {
		counter, err = gen.Count(*f, gen.Stack)
	}
	if err != nil {
		return nil, rooted(err)
	}
	generator, err := gen.New(*f, t, o.cpu)
	if err != nil {
		return nil, errors.Join(rooted(err), counter.Close())
	}
	if err := generator.SetRate(o.rate); err != nil {
		return nil, errors.Join(err, generator.Close(), counter.Close())
	}
	return &xdp{generator, counter}, nil
}

func rooted(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w (engine xdp needs root; sendmmsg on loopback does not)", err)
	}
	return err
}

// flow is where frames go and come from.
func (o *options) flow() (*gen.Flow, error) {
	dev, err := net.InterfaceByName(o.iface)
	if err != nil {
		return nil, usage("-i %s: %w", o.iface, err)
	}
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
	f := &gen.Flow{Interface: dev, Destination: o.target, Sources: prefix}
	if o.mac != "" {
		if f.Peer, err = net.ParseMAC(o.mac); err != nil {
			return nil, usage("-m: %w", err)
		}
		return f, nil
	}
	f.Peer, err = neighbour(dev, o.target.Addr())
	return f, err
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

// junkSize is that of the ClientHello that is sent if none is given.
const junkSize = 205

func (o *options) template() (gen.Template, error) {
	if o.kind == "junk" {
		return gen.Junk(junkSize)
	}
	datagram, err := o.question()
	if err != nil {
		return gen.Template{}, err
	}
	if o.kind == "wrong-cookie" {
		return gen.WithCookie(datagram, bytes.Repeat([]byte{0xff}, cookie.Size))
	}
	return gen.FirstHello(datagram)
}

func (o *options) question() ([]byte, error) {
	if o.hello != "" {
		return os.ReadFile(o.hello)
	}
	for _, c := range hellotest.Captured() {
		if c.Name == "openssl-dtls12:1" {
			return c.Datagram, nil
		}
	}
	return nil, errors.New("the captured ClientHello is missing")
}
