// Package scenario measures the guard and what it is compared with, in named scenarios: each has subjects, traffic and a
// network.
package scenario

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// Settings apply to all scenarios.
type Settings struct {
	Window time.Duration // of one run
	Rounds int           // runs of each subject
	// Handshakes is the number of handshakes at each level of a flood.
	Handshakes int
	// Let disturbed runs count as well, to try things out: the figures mean nothing.
	KeepDisturbed bool
	Progress      io.Writer
}

// Scenario can be run, and estimates its duration. When its context ends it stops after the current run
// and cleans up.
type Scenario interface {
	Run(context.Context, *Settings) (*result.Outcome, error)
	Estimate(*Settings) time.Duration
}

// Entry describes a scenario.
type Entry struct {
	Name, Title string
	make        func(e *Entry, w *Fixtures) (Scenario, error)
}

// Make prepares the scenario. w makes what it needs.
func (e *Entry) Make(w *Fixtures) (Scenario, error) {
	s, err := e.make(e, w)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	return s, nil
}

// Entries are all scenarios, in the order of the report. bench/README.md has the targets.
var Entries = []Entry{
	{"swap", "ClientHellos answered in the kernel, compared with a program that only sends back", comparison(swapComparison)},
	{"peers", "ClientHellos answered in the kernel, compared with servers with sockets, in overload", comparison(peersComparison)},
	{"paths", "ClientHellos answered on each of the guard's paths, in overload", comparison(pathsComparison)},
	{"formats", "ClientHellos answered in the kernel by the daemon, by kind of cookie", comparison(formatsComparison)},
	{"reset", "ClientHellos answered in the kernel before servers that take no cookie of the guard's", comparison(resetComparison)},
	{"workers", "ClientHellos answered by workers, in overload and at their peak", comparison(workersComparison)},
	{"junk", "datagrams that are not DTLS, dropped", comparison(junkComparison)},
	{"wrong-cookie", "ClientHellos with a wrong cookie, answered again", comparison(wrongCookieComparison)},
	{"verified", "ClientHellos with the right cookie, verified and refused by a limit", comparison(verifiedComparison)},
	{"size", "answers with few and many services and verified flows", comparison(sizeComparison)},
	{"frames", "answers to ClientHellos of several sizes", comparison(framesComparison)},
	{"scaling", "answers per second with everything, generator included, on one CPU and on two", comparison(scalingComparison)},
	{"handshakes", "real clients' handshakes during a flood, with the guard in the kernel and without", floodRun(inlineHandshakes)},
	{"beside", "datagrams that are not for the service, during a flood that fills the receive ring", floodRun(besideFlood)},
	{"streams", "established flows through the guard, through nginx and through neither", streams},
	{"memory", "memory of the daemon", memory},
	{"costs", "cost of the parts, by Go benchmarks, without a network", newCosts},
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

// setUp is the time to make and remove a testbed with its subject, and to start and stop a flood.
const setUp = 900 * time.Millisecond
