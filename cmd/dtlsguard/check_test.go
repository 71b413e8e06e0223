package main

import (
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// TestSeveralBackends: XDP cannot know the cookies of one of two back ends, and check says so.
func TestSeveralBackends(t *testing.T) {
	for _, c := range []struct {
		xdp   bool
		modes []handoff.Mode
		want  string // level of what is found; "": nothing
	}{
		{true, []handoff.Mode{handoff.Trust, handoff.Replay}, "PASS"},
		{true, []handoff.Mode{handoff.Trust, handoff.Harvest}, "WARN"},
		{true, []handoff.Mode{handoff.Harvest}, ""},
		{false, []handoff.Mode{handoff.Trust, handoff.Harvest}, ""},
	} {
		r := report{OK: true, modes: c.modes}
		r.together(c.xdp)
		got := ""
		for _, f := range r.Findings {
			got += f.Level
			if f.Level == "WARN" && !strings.Contains(f.Text, "the programs know cookies of one") {
				t.Errorf("%v: no reason: %q", c.modes, f.Text)
			}
		}
		if got != c.want || !r.OK {
			t.Errorf("%v, XDP %v: %q, want %q", c.modes, c.xdp, got, c.want)
		}
	}
}
