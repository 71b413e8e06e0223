package scenario

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/report"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// quick returns settings with which each scenario takes seconds. The figures mean nothing.
func quick(t *testing.T) *Settings {
	return &Settings{Window: 100 * time.Millisecond, Rounds: 1, Handshakes: 3, KeepDisturbed: true, Progress: t.Output()}
}

// easy is a rate that any machine can handle, however busy: in overload a server may be kept off its CPU for longer
// than a window.
const easy = 20e3

// shorten removes repetitions from a scenario and limits its flood.
func shorten(c Scenario) {
	switch c := c.(type) {
	case *Comparison:
		for _, s := range c.Subjects {
			s.Rates = []float64{easy}
		}
	case *FloodRun:
		c.Levels = []level{c.Levels[0], c.Levels[1]}
	case *Holdings:
		c.Flows = []int{50, 300}
	}
}

// Every scenario runs, and each of its subjects has a figure or a reason why not.
func TestScenarios(t *testing.T) {
	w := NewFixtures(t.TempDir())
	for i := range Entries {
		e := &Entries[i]
		t.Run(e.Name, func(t *testing.T) {
			c, err := e.Make(w)
			if err != nil {
				t.Fatal(err)
			}
			shorten(c)
			s := quick(t)
			if c.Estimate(s) <= 0 {
				t.Error("it takes no time")
			}
			over, end := context.WithCancel(t.Context())
			end()
			if _, err := c.Run(over, s); !errors.Is(err, context.Canceled) {
				t.Errorf("it does not stop when its context ends: %v", err)
			}
			o, err := c.Run(t.Context(), s)
			if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
				t.Skip("needs root: ", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			left(t)
			checkOutcome(t, s, o)
		})
	}
}

func checkOutcome(t *testing.T, s *Settings, o *result.Outcome) {
	t.Helper()
	r := NewReport(s)
	r.Outcomes = []*result.Outcome{o}
	if missing := r.Missing(); missing != nil {
		t.Errorf("no figure for %q", missing)
	}
	if len(r.Figures()) == 0 {
		t.Error("no figures at all")
	}
	for _, why := range skipped(o) {
		// Subjects whose library or privilege is missing are skipped with a hint; in CI nothing is skipped.
		if !strings.Contains(why, "apt-get install") && !strings.Contains(why, "ulimit") {
			t.Errorf("skipped without a hint: %s", why)
		}
		if os.Getenv("CI") == "true" {
			t.Errorf("skipped in CI: %s", why)
		}
	}
	var text, page strings.Builder
	r.Print(&text)
	if err := report.Write(&page, r); err != nil {
		t.Error(err)
	}
	if !strings.Contains(text.String(), o.Title) || !strings.Contains(page.String(), "<table>") {
		t.Errorf("no table of it in\n%s", text.String())
	}
}

// skipped returns the reasons of an outcome's skipped subjects.
func skipped(o *result.Outcome) (all []string) {
	add := func(why string) {
		if why != "" {
			all = append(all, why)
		}
	}
	for i := range o.Rows {
		add(o.Rows[i].Skipped)
	}
	for i := range o.Streams {
		add(o.Streams[i].Skipped)
	}
	for i := range o.Memory {
		add(o.Memory[i].Skipped)
	}
	return all
}
