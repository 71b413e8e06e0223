package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
)

// The flood's sources, in the lab's network of RFC 2544 but not its hosts.
const sources4 = "198.18.128.0/17"

// servicePort is the port of every service under test.
const servicePort = 4433

// Testbed is a lab with a subject in its guard namespace and a flood towards it.
type Testbed struct {
	Lab     *lab.Lab
	Service netip.AddrPort

	key     *cookie.Key // of the guard under test, if there is one
	format  bpf.Format  // of its cookies
	retries bool        // that guard answers ClientHellos of DTLS 1.3 with HelloRetryRequests
	flow    xdp.Flow
	counter *xdp.Counter
	round   bool             // answers are sent back
	floods  []*xdp.Generator // one per CPU
	cpus    []int            // of the subject
	shared  bool             // with the generator
	tasks   []int            // processes and threads of the subject
	daemon  int              // process of the guard under test, if there is one
	closers []func() error
}

// testbeds numbers testbeds: their namespaces need different names.
var testbeds atomic.Int32

// newTestbed makes a lab, starts the subject in it and prepares a flood of t; nil: none.
func newTestbed(s *Subject, t *xdp.Template) (*Testbed, error) {
	l, err := lab.New(fmt.Sprintf("bench%d", testbeds.Add(1)))
	if err != nil {
		return nil, err
	}
	b := &Testbed{Lab: l, closers: []func() error{l.Close}}
	if err := b.build(s, t); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close undoes everything, last first.
func (b *Testbed) Close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	b.closers = nil
	return errors.Join(errs...)
}

// Defer registers f to be called when the testbed is closed.
func (b *Testbed) Defer(f func() error) { b.closers = append(b.closers, f) }

// Pin confines processes or threads to the CPUs under test and counts their time as the subject's.
func (b *Testbed) Pin(pids ...int) error {
	b.tasks = append(b.tasks, pids...)
	return pin(b.cpus, pids...)
}

// Front is the interface on which the flood arrives.
func (*Testbed) Front() string { return lab.ToClient }

func (b *Testbed) build(s *Subject, t *xdp.Template) error {
	b.Service = netip.AddrPortFrom(lab.Middle4, servicePort)
	if s.Beyond {
		b.Service = netip.AddrPortFrom(lab.Server4, servicePort)
	}
	b.flow.Destination, b.flow.Sources = b.Service, netip.MustParsePrefix(sources4)
	if s.Source.IsValid() {
		b.flow.Sources = netip.PrefixFrom(s.Source.Addr(), s.Source.Addr().BitLen())
		b.flow.Ports = traffic.Ports{First: s.Source.Port(), Last: s.Source.Port()}
	}
	if b.cpus, b.shared = s.Shared, true; b.cpus == nil {
		b.cpus, b.shared = []int{subjectCPU}, false
	}
	if err := b.Lab.Bare(); err != nil {
		return err
	}
	if err := b.Lab.Middle.Do(func() error { return b.guardSide(s) }); err != nil {
		return err
	}
	if err := b.Lab.Client.Do(func() error { return b.clientSide(s, t) }); err != nil {
		return err
	}
	if err := s.Start(b); err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	// Last, since the XDP program creates the NAPI.
	return b.Lab.Middle.Do(func() error { return b.own(b.Front(), s) })
}

// own moves the packet processing of an interface of the guard's to the CPU under test. A subject that shares its
// CPUs needs no threads for that: a frame goes into the queue of its sender's CPU, and is processed there.
func (b *Testbed) own(device string, s *Subject) error {
	if s.Shared != nil {
		return nil
	}
	i, err := interfaceNamed(device)
	if err != nil {
		return err
	}
	threads, err := threadedNAPI(i.Index)
	if err != nil {
		return err
	}
	return b.Pin(threads...)
}

// guardSide prepares the guard's end: routes to the sources, and a ring for what is redirected to it.
func (b *Testbed) guardSide(s *Subject) error {
	front, err := interfaceNamed(b.Front())
	if err != nil {
		return err
	}
	b.flow.Peer = front.HardwareAddr
	if err := errors.Join(spreadOut(front.Name, s), queued(front.Name), whole(front.Name)); err != nil {
		return err
	}
	client := lab.Client4.AsSlice()
	_, sources, err := net.ParseCIDR(sources4)
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: sources, Gw: client}); err != nil {
		return fmt.Errorf("route to the flood's sources: %w", err)
	}
	return nil
}

// counterPoll is the interval at which the counter polls for answers. A ring holds 256, and a bare swap sends 5 per us.
const counterPoll = 20 * time.Microsecond

// clientCatchUp is short: a flood that catches up on the time that clients used its CPU would come in bursts that no
// ring holds.
const clientCatchUp = 100 * time.Microsecond

// clientSide prepares generator and counter, and moves the counting off the CPU under test.
func (b *Testbed) clientSide(s *Subject, t *xdp.Template) error {
	near, err := interfaceNamed(lab.ToMiddle)
	if err != nil {
		return err
	}
	b.flow.Interface, b.round = near, s.At == xdp.Return
	if err := errors.Join(spreadOut(near.Name, s), queued(near.Name)); err != nil {
		return err
	}
	if t == nil {
		// With an XDP program, since only then what the guard sends by XDP_TX is processed at once.
		return errors.Join(b.Lab.PassXDP(b.Lab.Client, near.Name), napiOnGenerator(near.Index))
	}
	if b.counter, err = xdp.Count(b.flow, s.At); err != nil {
		return err
	}
	b.Defer(b.counter.Close)
	generators := s.Shared
	if s.Shared == nil {
		generators = []int{generatorCPU}
		threads, err := polledNAPI(near.Index, counterPoll)
		if err != nil {
			return err
		}
		// Urgent, since the generator shares its CPU and would fill the ring while it runs.
		if err := errors.Join(pin(generators, threads...), urgent(threads...)); err != nil {
			return err
		}
	}
	var o xdp.Options
	if s.Clients {
		o.CatchUp, o.Carry = clientCatchUp, true
		if err := summed(near.Name); err != nil {
			return err
		}
	}
	for _, o.CPU = range generators {
		g, err := xdp.NewMix(b.flow, traffic.Single(*t), o)
		if err != nil {
			return err
		}
		b.Defer(g.Close)
		b.floods = append(b.floods, g)
	}
	return nil
}

// napiOnGenerator moves the packet processing of an interface to the generator's CPU.
func napiOnGenerator(index int) error {
	threads, err := threadedNAPI(index)
	if err != nil {
		return err
	}
	return pin([]int{generatorCPU}, threads...)
}

// spreadOut gives an interface a queue per CPU that the subject shares.
func spreadOut(device string, s *Subject) error {
	if s.Shared == nil {
		return nil
	}
	return setQueues(device, subjectCPU+1)
}

// neighbour sets the client's neighbour entry in the guard's namespace, so that no answer waits for ARP.
func (b *Testbed) neighbour() error {
	return b.Lab.Middle.Do(func() error {
		front, err := interfaceNamed(b.Front())
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: front.Index, State: netlink.NUD_PERMANENT,
			IP: lab.Client4.AsSlice(), HardwareAddr: b.flow.Interface.HardwareAddr,
		})
	})
}

// primed runs f after a flood has ended: its packets keep going back and forth.
func (b *Testbed) primed(f func() error) error {
	if err := b.under(0, func() error { time.Sleep(settle); return nil }); err != nil {
		return err
	}
	return f()
}

// under runs f while the flood runs at rate; 0: as fast as the generators can.
func (b *Testbed) under(rate float64, f func() error) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, len(b.floods))
	for _, g := range b.floods {
		if err := g.SetRate(rate / float64(len(b.floods))); err != nil {
			return err
		}
	}
	for _, g := range b.floods {
		go func() { ended <- g.Run(ctx) }()
	}
	errs := []error{f()}
	stop()
	for range b.floods {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// settle is how long a flood runs before it is measured: starting generators takes time, and queues fill.
const settle = 300 * time.Millisecond
