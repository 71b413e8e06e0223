package main

import (
	"context"
	"errors"
	"io"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/capture"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// counts of a flood so far. Right is part of Answers and Questions part of Sent; Unsent is not.
type counts struct {
	Sent, Questions, Unsent, Answers, Right uint64
	Faults                                  [answer.FaultLen]uint64 // of the other answers; engine xdp does not fill it in
}

// engine sends a flood. run sends until ctx ends; counts may be called at the same time.
type engine interface {
	run(ctx context.Context) error
	counts() (counts, error)
	close() error
}

func (o *options) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := o.complete(); err != nil {
		return err
	}
	if o.engine == "pcap" {
		return o.write(stdout)
	}
	if o.pace.ndr > 0 {
		return o.search(ctx, newReporter(stdout, stderr, o.report.json))
	}
	e, err := o.open()
	if err != nil {
		return err
	}
	c, err := o.openClients()
	if err != nil {
		return errors.Join(err, e.close())
	}
	f := flood{options: o, engine: e, clients: c, out: newReporter(stdout, stderr, o.report.json)}
	err = f.run(ctx)
	return errors.Join(err, e.close(), c.close())
}

// complete checks the flags, fills in defaults, and refuses targets and sources that may belong to others.
func (o *options) complete() error {
	address, err := netip.ParseAddr(o.target.text)
	if err != nil || o.target.port == 0 {
		return hint.Usagef("-d %q -p %d: want the address and port of the service", o.target.text, o.target.port)
	}
	// A zone says which interface a link-local address is on, as -i does.
	o.target.addr = netip.AddrPortFrom(address.Unmap().WithZone(""), o.target.port)
	if o.engine == "" {
		o.engine = "sendmmsg"
		if o.target.iface != "" {
			o.engine = "xdp"
		}
	}
	if err := o.traffic.compose(); err != nil {
		return err
	}
	switch {
	case o.engine != "sendmmsg" && o.engine != "xdp" && o.engine != "pcap":
		return hint.Usagef("--engine %q: want sendmmsg, xdp or pcap", o.engine)
	case o.pace.threads < 1 || o.pace.cpu < 0 || o.pace.batch > xdp.MaxBatch:
		return hint.Usagef("-t %d -F %d -b %d: want existing CPUs, and at most %d frames per batch", o.pace.threads, o.pace.cpu, o.pace.batch, xdp.MaxBatch)
	case o.pace.ndr < 0 || o.pace.ndr >= 1:
		return hint.Usagef("--ndr %v: want a share from 0 to 1, such as 0.001", o.pace.ndr)
	case o.pace.duration <= 0 || o.pace.rate < 0:
		return hint.Usagef("--duration %v, -Q %v: want more", o.pace.duration, o.pace.rate)
	case o.engine == "pcap" && o.report.file == "":
		return hint.Usagef("engine pcap needs --write FILE")
	case o.report.sample < 0 || o.report.giveBack < 0:
		return hint.Usagef("--sample %v, --return %d: want clients per second, and one in how many; 0 for none", o.report.sample, o.report.giveBack)
	}
	if err := o.fits(); err != nil {
		return err
	}
	if err := o.target.reach(o.engine); err != nil {
		return err
	}
	return o.mayForge()
}

// compose makes the mix.
func (c *content) compose() (err error) {
	if c.file != "" {
		if c.own, err = capture.Read(c.file); err != nil {
			return hint.Usagef("--hello: %w", err)
		}
	}
	if c.mix, err = traffic.ParseMix(c.text, c.own); err != nil {
		return hint.Usagef("--%w", err)
	}
	return nil
}

func (c counts) minus(o counts) counts {
	c.Sent -= o.Sent
	c.Questions -= o.Questions
	c.Unsent -= o.Unsent
	c.Answers -= o.Answers
	c.Right -= o.Right
	for f := range c.Faults {
		c.Faults[f] -= o.Faults[f]
	}
	return c
}
