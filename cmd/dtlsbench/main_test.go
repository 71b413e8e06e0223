package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func TestBadInputSaysHowToFixIt(t *testing.T) {
	for args, want := range map[string]string{
		"mesure":                    "run, report, compare or cookies",
		"run -scenario swpa":        "-scenario list",
		"run -no-such-flag":         "see dtlsbench run -help",
		"run -rounds 0":             "at least 1 round",
		"run extra":                 "not flags",
		"compare a.json":            "two files",
		"compare no.json no.json":   "no.json",
		"report":                    "one file",
		"report -clock -1 any.json": "GHz",
	} {
		if err := command(strings.Fields(args), &strings.Builder{}); err == nil || !strings.Contains(err.Error()+hint.Of(err), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestReportOfAStoredRun(t *testing.T) {
	text, err := os.ReadFile("../../bench/results/2026-11-26-intel-xeon-2cpu.json")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/r.json"
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := command([]string{"report", path}, &out); err != nil || !strings.Contains(out.String(), "bare XDP_TX swap") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if _, err := os.Stat(strings.TrimSuffix(path, ".json") + ".html"); err != nil {
		t.Error(err)
	}
	if err := command([]string{"compare", path, path}, &out); err != nil {
		t.Error(err)
	}
	// The figures of the repository's own files can be rewritten.
	args := []string{"report"}
	for _, name := range []string{"../../docs/figures.md", "../../bench/README.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		readme := fmt.Sprintf("%s/%d.md", filepath.Dir(path), len(args))
		if err := os.WriteFile(readme, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-readme", readme)
	}
	if err := command(append(args, path), &out); err != nil {
		t.Fatal(err)
	}
	for _, readme := range []string{args[2], args[4]} {
		if text, err := os.ReadFile(readme); err != nil || !strings.Contains(string(text), "From [r.json](r.json)") {
			t.Errorf("%s: %v\n%s", readme, err, text)
		}
	}
}

func TestEstimateIsCorrected(t *testing.T) {
	if got := corrected(time.Minute, 0, 0); got != time.Minute {
		t.Errorf("at the start: %v", got)
	}
	if got := corrected(time.Minute, 10*time.Second, 20*time.Second); got != 2*time.Minute {
		t.Errorf("after twice the time expected: %v", got)
	}
}
