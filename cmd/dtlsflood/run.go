package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// counts of a flood so far. Right is of Answers, Unsent not of Sent.
type counts struct{ Sent, Unsent, Answers, Right uint64 }

// engine is a way to send. run sends until ctx ends; counts may be called meanwhile.
type engine interface {
	run(ctx context.Context) error
	counts() (counts, error)
	close() error
}

func (o *options) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := o.complete(); err != nil {
		return err
	}
	e, err := o.open()
	if err != nil {
		return err
	}
	err = o.flood(ctx, e, stdout, stderr)
	return errors.Join(err, e.close())
}

// complete checks the flags, fills in those that follow from others, and refuses targets that may be strangers'.
func (o *options) complete() error {
	address, err := netip.ParseAddr(o.destination)
	if err != nil || o.port == 0 {
		return usage("-d %q -p %d: want the address and port of the service", o.destination, o.port)
	}
	o.target = netip.AddrPortFrom(address.Unmap(), o.port)
	if o.engine == "" {
		o.engine = "sendmmsg"
		if o.iface != "" {
			o.engine = "xdp"
		}
	}
	switch {
	case o.engine != "sendmmsg" && o.engine != "xdp":
		return usage("--engine %q: want sendmmsg or xdp", o.engine)
	case o.kind != "hello" && o.kind != "wrong-cookie" && o.kind != "junk":
		return usage("--kind %q: want hello, wrong-cookie or junk", o.kind)
	case o.duration <= 0 || o.rate < 0:
		return usage("--duration %v, -Q %v: want more", o.duration, o.rate)
	case o.engine == "sendmmsg" && (o.iface != "" || o.mac != "" || o.sources != "" || o.hello != ""):
		return usage("-i, -m, --src-cidr and --hello are for --engine xdp")
	case o.engine == "sendmmsg" && (o.target.Addr().Is6() || !o.target.Addr().IsLoopback()):
		return usage("engine sendmmsg sends to 127.0.0.0/8 only, not to %v (--engine xdp -i INTERFACE)", address)
	case o.engine == "xdp" && o.iface == "":
		return usage("engine xdp needs -i INTERFACE")
	case o.engine == "xdp" && !o.mine:
		return o.near()
	}
	return nil
}

// near refuses a target that is not on the network of the interface.
func (o *options) near() error {
	dev, err := net.InterfaceByName(o.iface)
	if err != nil {
		return usage("-i %s: %w", o.iface, err)
	}
	addresses, err := dev.Addrs()
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", o.iface, err)
	}
	for _, a := range addresses {
		if p, ok := a.(*net.IPNet); ok && p.Contains(o.target.Addr().AsSlice()) {
			return nil
		}
	}
	return usage("%v is not on a network of %s; only to a network that is yours, send with --i-own-this-network", o.target.Addr(), o.iface)
}

// flood sends for the time asked for and reports each second and in the end.
func (o *options) flood(ctx context.Context, e engine, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- e.run(ctx) }()
	began, last := time.Now(), counts{}
	// The rate is judged from the first second's end on: setting up takes a part of that second.
	var settled time.Duration
	var before counts
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			took := time.Since(began)
			all, err := e.counts()
			if err != nil {
				return err
			}
			o.sum(all, took, stdout)
			return errors.Join(o.slow(all.minus(before), min(took, o.duration)-settled), o.wrong(all))
		case <-seconds.C:
			now, err := e.counts()
			if err != nil {
				return err
			}
			o.report(now.minus(last), time.Since(began), stdout, stderr)
			if last = now; settled == 0 {
				before, settled = now, time.Since(began)
			}
		}
	}
}

func (c counts) minus(o counts) counts {
	return counts{c.Sent - o.Sent, c.Unsent - o.Unsent, c.Answers - o.Answers, c.Right - o.Right}
}

// report writes what the last second was like: for programs to stdout, for people to stderr.
func (o *options) report(c counts, at time.Duration, stdout, stderr io.Writer) {
	if !o.json {
		fmt.Fprintf(stderr, "%4.0f s  sent %.3f M/s  answers %.3f M/s  right %.3f M/s\n",
			at.Seconds(), float64(c.Sent)/1e6, float64(c.Answers)/1e6, float64(c.Right)/1e6)
		return
	}
	line, err := json.Marshal(struct {
		Seconds float64 `json:"seconds"`
		Sent    uint64  `json:"sent"`
		Unsent  uint64  `json:"unsent"`
		Answers uint64  `json:"answers"`
		Right   uint64  `json:"right"`
	}{at.Seconds(), c.Sent, c.Unsent, c.Answers, c.Right})
	if err == nil { // numbers can always be written
		fmt.Fprintf(stdout, "%s\n", line)
	}
}

// sum writes what it was in all.
func (o *options) sum(c counts, took time.Duration, stdout io.Writer) {
	if !o.json {
		fmt.Fprintf(stdout, "sent %d in %.1f s (%.3f M/s), %d not taken by the system\nanswers %d, of them right %d\n",
			c.Sent, took.Seconds(), float64(c.Sent)/took.Seconds()/1e6, c.Unsent, c.Answers, c.Right)
	}
}

// slow says if less than 98 % of what was asked for was sent in that time.
func (o *options) slow(c counts, in time.Duration) error {
	if want := o.rate * in.Seconds(); float64(c.Sent) < 0.98*want {
		return fmt.Errorf("the rate was not reached: %d sent in %v, %.0f wanted", c.Sent, in.Round(time.Millisecond), want)
	}
	return nil
}

// wrong says if the answers are not what they should be.
func (o *options) wrong(c counts) error {
	switch {
	case c.Sent == 0:
		return errors.New("nothing was sent")
	case o.kind == "junk":
		return nil // nobody should answer that
	case c.Answers == 0:
		return fmt.Errorf("no answer at all from %v: does it listen, are the sources routed back here?", o.target)
	case c.Right == 0:
		return fmt.Errorf("%d answers, none of them a HelloVerifyRequest that its question would have", c.Answers)
	}
	return nil
}
