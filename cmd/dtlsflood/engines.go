package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/sockets"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func (o *options) open() (engine, error) {
	if o.engine == "xdp" {
		return o.openXDP()
	}
	f, err := o.flow()
	if err != nil {
		return nil, err
	}
	c := sockets.Config{Flow: *f, Mix: o.traffic.mix, Pace: traffic.Pace{Rate: o.pace.rate, Limit: o.pace.count}, Batch: int(o.pace.batch)}
	if err := c.Check(); err != nil {
		return nil, hint.Usage(err)
	}
	sender, err := sockets.New(c)
	return sendmmsg{sender}, err
}

// sendmmsg is the engine of that name.
type sendmmsg struct{ *sockets.Flood }

func (s sendmmsg) run(ctx context.Context) error { return s.Run(ctx) }
func (s sendmmsg) close() error                  { return s.Close() }

func (s sendmmsg) counts() (counts, error) {
	c := s.Counts()
	return counts{c.Sent, c.Questions, c.Unsent, c.Right + c.Wrong, c.Right, c.Faults}, nil
}

// kernelEngine is engine xdp.
type kernelEngine struct {
	generators []*xdp.Generator
	counter    *xdp.Counter
}

// linger is how long after the last frame answers on their way still count.
const linger = 200 * time.Millisecond

func (x *kernelEngine) run(ctx context.Context) error {
	errs := make([]error, len(x.generators))
	var done sync.WaitGroup
	for i, g := range x.generators {
		done.Go(func() { errs[i] = g.Run(ctx) })
	}
	done.Wait()
	time.Sleep(linger)
	return errors.Join(errs...)
}

func (x *kernelEngine) close() error {
	err := x.counter.Close()
	for _, g := range x.generators {
		err = errors.Join(err, g.Close())
	}
	return err
}

func (x *kernelEngine) counts() (c counts, err error) {
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
	if err := xdp.Arrives(f.Interface); errors.Is(err, os.ErrPermission) {
		return nil, rooted(err)
	} else if err != nil {
		return nil, hint.Add(err, "ethtool -K IF gro on at the other end, or any native XDP program there, or --engine sendmmsg")
	}
	// In the driver, which also sees the answers of XDP_TX; in the stack if the driver has no room for a program.
	counter, err := xdp.Count(*f, xdp.Driver)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EBUSY) || errors.Is(err, ebpf.ErrNotSupported) {
		counter, err = xdp.Count(*f, xdp.Stack)
	}
	if err != nil {
		return nil, rooted(err)
	}
	x := &kernelEngine{counter: counter}
	pace := traffic.Pace{Rate: o.pace.rate, Limit: o.pace.count}
	late := catchUp
	if o.pace.even {
		late = 0 // the generator's own
	}
	for i := range o.pace.threads {
		share := pace.Split(o.pace.threads, i)
		g, err := xdp.NewMix(*f, o.traffic.mix, xdp.Options{CPU: o.pace.cpu + i, Batch: o.pace.batch, Limit: share.Limit, CatchUp: late})
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

// catchUp keeps up a rate on a busy machine, at the price of bursts.
const catchUp = 100 * time.Millisecond

func rooted(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return hint.Add(err, "run as root, or use --engine sendmmsg on loopback")
	}
	return err
}
