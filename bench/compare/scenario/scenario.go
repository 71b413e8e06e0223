// Package scenario measures the guard and what it is compared with, each as a scenario with a name: who answers, under which
// traffic, in which lab.
package scenario

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// Settings of all scenarios.
type Settings struct {
	Window time.Duration // of one run
	Rounds int           // runs of each subject
	// Handshakes are those that clients try at each level of a flood.
	Handshakes int
	// Disturbed runs count too. For trying things out: the figures mean nothing.
	KeepDisturbed bool
	Progress      io.Writer
}

// Scenario can be run, and knows about how long that takes. When its context ends it stops after the run of that time,
// and leaves nothing.
type Scenario interface {
	Run(context.Context, *Settings) (*result.Outcome, error)
	Estimate(*Settings) time.Duration
}

// Entry is a scenario that can be made.
type Entry struct {
	Name, Title string
	make        func(e *Entry, w *Fixtures) (Scenario, error)
}

// Make readies the scenario. w makes what it needs.
func (e *Entry) Make(w *Fixtures) (Scenario, error) {
	s, err := e.make(e, w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	return s, nil
}

// Entries are all there are, in the order of the report. What is compared is targeted in bench/README.md.
var Entries = []Entry{
	{"swap", "ClientHellos answered in the kernel, against a program that only sends back", comparison(swapComparison)},
	{"peers", "ClientHellos answered in the kernel, against servers with sockets, in overload", comparison(peersComparison)},
	{"paths", "ClientHellos answered in each way that the guard has, in overload", comparison(pathsComparison)},
	{"formats", "ClientHellos answered in the kernel by the daemon, by kind of cookie", comparison(formatsComparison)},
	{"workers", "ClientHellos answered by workers, in overload and at their peak", comparison(workersComparison)},
	{"junk", "datagrams that are not DTLS, dropped", comparison(junkComparison)},
	{"wrong-cookie", "ClientHellos with a wrong cookie, answered anew", comparison(wrongCookieComparison)},
	{"verified", "ClientHellos with the right cookie, verified and refused by a limit", comparison(verifiedComparison)},
	{"size", "answers with few and many services and verified flows", comparison(sizeComparison)},
	{"frames", "answers to ClientHellos of several sizes", comparison(framesComparison)},
	{"scaling", "answers per second with everything, the generator too, on one CPU and on two", comparison(scalingComparison)},
	{"handshakes", "real clients' handshakes during a flood, with the guard in the kernel and without", floodRun(inlineHandshakes)},
	{"beside", "datagrams that are not for the service, during a flood that fills the receive ring", floodRun(besideFlood)},
	{"streams", "established flows through the guard, nginx and neither", streams},
	{"memory", "what the daemon holds", memory},
	{"costs", "what the parts take, by Go benchmarks, without a network", newCosts},
}

func comparison(ready func(w *Fixtures) (*Comparison, error)) func(*Entry, *Fixtures) (Scenario, error) {
	return func(e *Entry, w *Fixtures) (Scenario, error) {
		c, err := ready(w)
		if err != nil {
			return nil, err
		}
		c.Name, c.Title = e.Name, e.Title
		return c, nil
	}
}

func floodRun(ready func(w *Fixtures) (*FloodRun, error)) func(*Entry, *Fixtures) (Scenario, error) {
	return func(e *Entry, w *Fixtures) (Scenario, error) {
		t, err := ready(w)
		if err != nil {
			return nil, err
		}
		t.Name, t.Title = e.Name, e.Title
		return t, nil
	}
}

// setUp is what it takes to make a testbed with something in it and to remove it, and to start and end a flood.
const setUp = 900 * time.Millisecond
