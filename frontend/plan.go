package frontend

import (
	"fmt"
	"slices"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// situation is the input of divide: everything that decides who answers the ClientHellos of a service behind XDP.
type situation struct {
	inline       bool
	modes        []handoff.Mode // of its back ends that are known; none: nobody can be handed over at the moment
	mapped       bool           // native modes: the server sees IPv4 clients under v4-mapped addresses
	sharedPool   bool           // the programs can read the pool of the one back end
	cookieLength int            // bytes of the cookies in that pool
	foreign      bool           // its secret differs from the programs' secret
	mac          cookie.MAC     // of the guard's own cookies
	asked        bpf.Answer
	attached     bpf.AttachMode
	lost         bool // answers that XDP sends from the driver do not arrive
	workers      bool // it has workers
}

// division says who answers.
type division struct {
	format bpf.Format
	answer bpf.Answer
	// hellos: where the programs do not know a right cookie, a client that showed one to a worker may show it again.
	hellos bool
	passes bool // clients without a cookie are admitted by address
}

// workersAlone has workers answer everything: they count what they drop. Without workers there is no answer.
func (s *situation) workersAlone() division {
	if s.workers {
		return division{format: bpf.FormatWorkers, answer: bpf.AnswerWorkers, hellos: s.inline}
	}
	return division{format: bpf.FormatV1, answer: bpf.AnswerDrop}
}

// divide decides who answers what. The error says why the requested answer is impossible; then workers answer, because the
// programs must not keep to a format that is no longer right.
func divide(s situation) (division, error) {
	if len(s.modes) == 0 {
		return s.workersAlone(), nil
	}
	d := division{format: s.format(), answer: s.asked}
	d.passes = len(s.modes) == 1 && s.modes[0].Passes() && d.format != bpf.FormatWorkers
	d.hellos = slices.ContainsFunc(s.modes, handoff.Mode.TwoRound) || d.passes || d.format == bpf.FormatWorkers && s.inline
	switch {
	case d.format == bpf.FormatWorkers && s.asked == bpf.AnswerXDP:
		return s.workersAlone(), hint.Usagef("setting answer xdp needs cookies that the kernel can make, and only workers can make those of %v: leave setting answer out, or see to it that setting handoff trust can be used", s.modes[0])
	case d.format == bpf.FormatWorkers:
		d.answer = bpf.AnswerWorkers
	case s.asked == bpf.AnswerAuto && s.attached == bpf.AttachNative && s.lost:
		d.answer = bpf.AnswerWorkers
	case s.asked == bpf.AnswerAuto && s.attached == bpf.AttachNative:
		d.answer = bpf.AnswerXDP // an answer in the driver costs a seventh of one through the stack (bench/README.md)
	}
	return d, nil
}

// format returns the cookie format that the programs need for the service: the same for all back ends.
func (s *situation) format() bpf.Format {
	if s.foreign {
		return bpf.FormatWorkers
	}
	own := bpf.FormatV1
	if s.mac == cookie.SipHash {
		own = bpf.FormatV2
	}
	one := s.modes[0]
	if len(s.modes) > 1 {
		for _, m := range s.modes {
			if m.TwoRound() || m.Passes() || m.Cookies(s.inline, s.mapped) != handoff.CookiesOwn {
				return bpf.FormatWorkers
			}
		}
		return own
	}
	switch one.Cookies(s.inline, s.mapped) {
	case handoff.CookiesOwn:
		return own
	case handoff.CookiesV1:
		return bpf.FormatV1
	case handoff.CookiesQt:
		return bpf.FormatQt
	case handoff.CookiesHarvested:
		if s.sharedPool && s.cookieLength <= cookie.Size {
			return bpf.FormatHarvest
		}
	}
	return bpf.FormatWorkers
}

// why says why the kernel does not answer ClientHellos under AnswerAuto; "" if it does, or was configured not to.
func (s *situation) why(d division) string {
	switch {
	case len(s.modes) == 0 || d.answer != bpf.AnswerWorkers || s.asked == bpf.AnswerWorkers:
		return ""
	case s.foreign:
		return "its secret is another one than the first service's, and the programs have that one alone"
	case d.format == bpf.FormatWorkers && len(s.modes) > 1:
		return "it has several back ends, and the programs know cookies of one, or those of trust and replay"
	case d.format == bpf.FormatWorkers:
		return fmt.Sprintf("only workers can make the cookies of %v", s.modes[0])
	case s.lost:
		return "the driver's answers would be lost on the way (veth without XDP on its other end)"
	}
	return ""
}
