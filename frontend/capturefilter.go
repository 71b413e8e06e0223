package frontend

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// The verdicts of a capture. XDP passes, answers, steers and drops, workers answer, verify, relay and drop.
const (
	passed   = "passed"
	answered = "answered"
	steered  = "steered"
	dropped  = "dropped"
	verified = "verified"
	relayed  = "relayed"
)

var captureVerdicts = []string{passed, answered, steered, dropped, verified, relayed}

// outcome is the outcome of a datagram, in the words of a capture.
type outcome struct{ verdict, reason string }

// CaptureFilter selects datagrams by outcome. An empty list selects all.
type CaptureFilter struct {
	Verdicts []string
	Reasons  []string // of a verdict, or names of what datagrams are
}

func (f *CaptureFilter) wants(o outcome) bool {
	return f.verdict(o) && (len(f.Reasons) == 0 || slices.Contains(f.Reasons, o.reason))
}

func (f *CaptureFilter) verdict(o outcome) bool {
	return len(f.Verdicts) == 0 || slices.Contains(f.Verdicts, o.verdict)
}

// kernelOutcome translates a verdict of the programs; reason says why a datagram is malformed.
func kernelOutcome(v bpf.Verdict, reason uint8) outcome {
	name := v.String()
	if v == bpf.DropMalformed {
		return outcome{dropped, hello.Reason(reason).String()}
	}
	if r, ok := strings.CutPrefix(name, "drop-"); ok {
		return outcome{dropped, r}
	}
	if r, ok := strings.CutPrefix(name, "pass-"); ok {
		return outcome{passed, r}
	}
	switch v {
	case bpf.Answered:
		return outcome{answered, ""}
	case bpf.Steered:
		return outcome{steered, ""}
	case bpf.Reset:
		return outcome{answered, name}
	}
	return outcome{dropped, name}
}

// datagramName names the kind of a datagram that is not a ClientHello.
func datagramName(reason uint8) string {
	if r := hello.Reason(reason); r != hello.OK && r < hello.ReasonLen {
		return r.String()
	}
	return ""
}

// eventOutcome translates an event of the client stage.
func eventOutcome(e metrics.Event) outcome {
	l := metrics.Labels[e]
	return outcome{l.Outcome, l.Reason}
}

// kernelFilter translates f for the programs.
func (f *CaptureFilter) kernelFilter() (k bpf.CaptureFilter) {
	for r := range hello.ReasonLen {
		if len(f.Reasons) == 0 || slices.Contains(f.Reasons, r.String()) {
			k.Reasons |= 1 << r
		}
	}
	for v := range bpf.VerdictLen {
		o := kernelOutcome(v, 0)
		if v == bpf.DropMalformed && f.verdict(o) && k.Reasons != 0 || f.wants(o) {
			k.Verdicts |= 1 << v
		}
	}
	return k
}

// check refuses a filter that selects nothing.
func (o *CaptureOptions) check() error {
	var reasons []string
	for v := range bpf.VerdictLen {
		reasons = append(reasons, kernelOutcome(v, 0).reason)
	}
	for r := hello.OK + 1; r < hello.ReasonLen; r++ {
		reasons = append(reasons, r.String())
	}
	for e := range metrics.EventLen {
		if l := metrics.Labels[e]; l.Stage == "client" {
			reasons = append(reasons, l.Reason)
		}
	}
	slices.Sort(reasons)
	reasons = slices.DeleteFunc(slices.Compact(reasons), func(s string) bool { return s == "" || s == hello.OK.String() })
	for _, c := range []struct {
		what        string
		given, know []string
	}{{"verdict", o.Verdicts, captureVerdicts}, {"reason", o.Reasons, reasons}} {
		for _, g := range c.given {
			if !slices.Contains(c.know, g) {
				return hint.Usage(hint.Errorf("there are: "+strings.Join(c.know, ", "), "there is no %s %q", c.what, g))
			}
		}
	}
	if o.Rate <= 0 || o.Rate > MaxCaptureRate {
		return hint.Usage(fmt.Errorf("rate %v: want more than 0 and at most %d per second", o.Rate, MaxCaptureRate))
	}
	return nil
}
