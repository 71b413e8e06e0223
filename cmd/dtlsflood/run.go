package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/answer"
	"github.com/dtlsguard/dtlsguard/bench/capture"
	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/bench/sample"
	"github.com/dtlsguard/dtlsguard/bench/traffic"
)

// counts of a flood so far. Right is of Answers, Questions of Sent, Unsent not.
type counts struct {
	Sent, Questions, Unsent, Answers, Right uint64
	Faults                                  [answer.FaultLen]uint64 // of the other answers; engine xdp counts them, no more
}

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
	if o.engine == "pcap" {
		return o.write(stdout)
	}
	if o.ndr > 0 {
		return o.search(ctx, newReporter(stdout, stderr, o.json))
	}
	e, err := o.open()
	if err != nil {
		return err
	}
	c, err := o.openClients()
	if err != nil {
		return errors.Join(err, e.close())
	}
	err = o.flood(ctx, e, c, newReporter(stdout, stderr, o.json))
	return errors.Join(err, e.close(), c.close())
}

// complete checks the flags, fills in those that follow from others, and refuses targets that may be strangers'.
func (o *options) complete() error {
	address, err := netip.ParseAddr(o.destination)
	if err != nil || o.port == 0 {
		return usage("-d %q -p %d: want the address and port of the service", o.destination, o.port)
	}
	// A zone says which interface a link-local address is on, as -i does.
	o.target = netip.AddrPortFrom(address.Unmap().WithZone(""), o.port)
	if o.engine == "" {
		o.engine = "sendmmsg"
		if o.iface != "" {
			o.engine = "xdp"
		}
	}
	if err := o.compose(); err != nil {
		return err
	}
	switch {
	case o.engine != "sendmmsg" && o.engine != "xdp" && o.engine != "pcap":
		return usage("--engine %q: want sendmmsg, xdp or pcap", o.engine)
	case o.threads < 1 || o.cpu < 0 || o.batch > gen.MaxBatch:
		return usage("-t %d -F %d -b %d: want CPUs that there are, and at most %d frames a batch", o.threads, o.cpu, o.batch, gen.MaxBatch)
	case o.ndr < 0 || o.ndr >= 1:
		return usage("--ndr %v: want a share from 0 to 1, such as 0.001", o.ndr)
	case o.duration <= 0 || o.rate < 0:
		return usage("--duration %v, -Q %v: want more", o.duration, o.rate)
	case o.engine == "pcap" && o.file == "":
		return usage("engine pcap needs --write FILE")
	case o.sample < 0 || o.giveBack < 0:
		return usage("--sample %v, --return %d: want clients a second, and one in how many; 0 for none", o.sample, o.giveBack)
	}
	if err := o.fits(); err != nil {
		return err
	}
	return o.reach()
}

// compose makes the mix.
func (o *options) compose() (err error) {
	if o.hello != "" {
		if o.ownHello, err = capture.Read(o.hello); err != nil {
			return usage("--hello: %w", err)
		}
	}
	if o.traffic, err = traffic.ParseMix(o.mix, o.ownHello); err != nil {
		return usage("--%w", err)
	}
	return nil
}

// countLook is how often it is looked whether all of -n is sent.
const countLook = 20 * time.Millisecond

// flood sends for the time asked for, with the sampled clients beside it, and reports each second and in the end.
func (o *options) flood(ctx context.Context, e engine, c clients, report *reporter) error {
	interrupted := ctx
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	ended, sampled := make(chan error, 1), make(chan error, 1)
	began, last := time.Now(), counts{}
	took := o.duration // of sending; behind that, only answers are waited for
	go func() { ended <- e.run(ctx) }()
	go func() { sampled <- c.run(ctx) }()
	// The rate is judged from the first second's end on: setting up takes a part of that second.
	var settled time.Duration
	var before counts
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	look := time.NewTicker(countLook)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if now, err := e.counts(); err != nil || o.count != 0 && now.Sent >= o.count {
				took = min(took, time.Since(began))
				cancel() // if it cannot be read now, the end says so
			}
		case err := <-ended:
			took = min(took, time.Since(began))
			cancel()
			all, unread := e.counts()
			if err := errors.Join(err, <-sampled, unread); err != nil {
				report.clear()
				return err
			}
			_, became := c.take()
			report.summary(took, all, became)
			slow := o.slow(all.minus(before), took-settled)
			if ended := o.count != 0 && all.Sent >= o.count; ended || settled == 0 && interrupted.Err() != nil {
				slow = nil // there is no time to judge by
			}
			return errors.Join(slow, o.wrong(all, became), o.outrun(all))
		case <-seconds.C:
			now, err := e.counts()
			if err != nil {
				cancel()
				return errors.Join(err, <-ended, <-sampled)
			}
			at := time.Since(began)
			since, _ := c.take()
			report.second(at, now.minus(last), since)
			if last = now; settled == 0 {
				before, settled = now, at
			}
		}
	}
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

// slow says if less than 98 % of what was asked for was sent in that time.
func (o *options) slow(c counts, in time.Duration) error {
	if want := o.rate * in.Seconds(); float64(c.Sent) < 0.98*want {
		return fmt.Errorf("the rate was not reached: %d sent in %v, %.0f wanted", c.Sent, in.Round(time.Millisecond), want)
	}
	return nil
}

// wrong says if the answers are not what they should be. s is what became of sampled clients, nil if there are none.
func (o *options) wrong(c counts, s *sample.Report) error {
	switch {
	case c.Sent == 0:
		return errors.New("nothing was sent")
	case o.traffic.Questions() == 0:
		return nil // nobody should answer that
	case c.Right == 0 && s != nil && s.Events[sample.Accepted] > 0:
		return fmt.Errorf("no right answer, but a sampled client was taken up: a server that serves one client at a time answers nobody else meanwhile; try --return 0")
	case c.Answers == 0:
		return fmt.Errorf("no answer at all from %v: does it listen, are the sources routed back here?", o.target)
	case c.Right == 0 && c.Faults[answer.RecordSeq] == c.Answers:
		return fmt.Errorf("%d HelloVerifyRequests, all with another record sequence number than their questions' "+
			"(RFC 6347 section 4.2.1 wants that): GnuTLS, Pion and OpenSSL's SSL_accept count their own", c.Answers)
	case c.Right == 0:
		return fmt.Errorf("%d answers, none of them a HelloVerifyRequest that its question would have%s", c.Answers, faults(c.Faults))
	}
	return nil
}

// outrun says if a flood of all that can be sent has not come to the service's limit: what the service can do is not known
// then. A loss below one in outrunLoss is the machine's.
func (o *options) outrun(c counts) error {
	const outrunLoss = 1000
	if o.rate != 0 || o.count != 0 || c.Questions == 0 || (c.Questions-min(c.Right, c.Questions))*outrunLoss > c.Questions {
		return nil
	}
	return fmt.Errorf("the generator is slower than the service, which answered %d of %d questions: its limit is not known. "+
		"Ask for a rate with -Q, or for more with --engine xdp and -t", c.Right, c.Questions)
}
