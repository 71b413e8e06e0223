package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/sample"
)

// slow returns an error if less than 98 % of the rate was sent. The end of the time does not count: a generator that was
// descheduled catches up later.
func (p *pace) slow(c counts, in time.Duration) error {
	const late = 50 * time.Millisecond
	if want := p.rate * (in - late).Seconds(); float64(c.Sent) < 0.98*want {
		return fmt.Errorf("the rate was not reached: %d sent in %v, %.0f wanted", c.Sent, in.Round(time.Millisecond), p.rate*in.Seconds())
	}
	return nil
}

// wrong returns an error if answers are missing or wrong. s has the outcomes of sampled clients, nil if there are none.
func (o *options) wrong(c counts, s *sample.Report) error {
	switch {
	case c.Sent == 0:
		return errors.New("nothing was sent")
	case o.traffic.mix.Questions() == 0:
		return nil // needs no answer
	case c.Right == 0 && s != nil && s.Events[sample.Accepted] > 0:
		return fmt.Errorf("no right answer, but a sampled client was accepted: a server for one client at a time answers nobody else during that; try --return 0")
	case c.Answers == 0:
		return fmt.Errorf("no answer at all from %v: does it listen, are the sources routed back here?", o.target.addr)
	case c.Right == 0 && c.Faults[answer.RecordSeq] == c.Answers:
		return fmt.Errorf("%d HelloVerifyRequests, none with the record sequence number of its question "+
			"(required by RFC 6347 section 4.2.1): GnuTLS, Pion and OpenSSL's SSL_accept count their own", c.Answers)
	case c.Right == 0:
		return fmt.Errorf("%d answers, none of them a HelloVerifyRequest for its question%s", c.Answers, faults(c.Faults))
	}
	return nil
}

// outrun returns an error if a flood at full speed has not reached the service's limit, which is then unknown. A loss below one
// in outrunLoss is attributed to the machine.
func (p *pace) outrun(c counts) error {
	const outrunLoss = 1000
	if p.rate != 0 || p.count != 0 || c.Questions == 0 || (c.Questions-min(c.Right, c.Questions))*outrunLoss > c.Questions {
		return nil
	}
	return fmt.Errorf("the generator is slower than the service, which answered %d of %d questions: its limit is unknown. "+
		"Ask for a rate with -Q, or for more with --engine xdp and -t", c.Right, c.Questions)
}
