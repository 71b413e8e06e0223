package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/compare/scenario"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// run measures.
func run(args []string, out io.Writer) error {
	s := scenario.Settings{Progress: os.Stderr}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	names := flags.String("scenario", "", "which to run, separated by commas (default: all; list: print their names)")
	results := flags.String("results", "bench/results", "directory for the results as JSON and as a page; empty: none")
	var readmes files
	flags.Var(&readmes, "readme", readmeUsage)
	flags.DurationVar(&s.Window, "window", time.Second, "length of one run")
	flags.IntVar(&s.Rounds, "rounds", 5, "runs of each subject, interleaved")
	flags.IntVar(&s.Handshakes, "handshakes", 1000, "handshakes that clients try at each level of a flood")
	flags.BoolVar(&s.KeepDisturbed, "keep-disturbed", false, "count disturbed runs as well, to try things out")
	if err := parse(flags, args, out); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return hint.Usagef("arguments that are not flags: %q", flags.Args())
	}
	if *names == "list" {
		for _, e := range scenario.Entries {
			fmt.Fprintf(out, "%-14s %s\n", e.Name, e.Title)
		}
		return nil
	}
	entries, err := choose(*names)
	if err != nil {
		return err
	}
	if err := able(&s); err != nil {
		return err
	}
	// A second signal ends it at once, and leaves its namespaces to the next run, which removes them.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	report, err := measure(ctx, entries, &s)
	if err != nil {
		return err
	}
	report.Print(out)
	if *results != "" {
		if err := keep(report, *results, readmes, out); err != nil {
			return err
		}
	}
	if missing := report.Missing(); len(missing) > 0 {
		return fmt.Errorf("there is no figure for\n    %s", strings.Join(missing, "\n    "))
	}
	return nil
}

// keep saves a report, and writes its page and its figures in README files.
func keep(report *result.Report, dir string, readmes files, out io.Writer) error {
	path, err := report.Save(dir)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "\nsaved as", path)
	if err := writePage(report, path, out); err != nil {
		return err
	}
	return readmes.update(report, path)
}

// choose finds the scenarios named; all for no name.
func choose(names string) ([]scenario.Entry, error) {
	if names == "" {
		return scenario.Entries, nil
	}
	var entries []scenario.Entry
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(scenario.Entries, func(e scenario.Entry) bool { return e.Name == name })
		if i < 0 {
			return nil, hint.Usage(hint.Errorf("-scenario list prints the names", "no scenario %q", name))
		}
		entries = append(entries, scenario.Entries[i])
	}
	return entries, nil
}

// able returns an error if a requirement is missing, before anything is built.
func able(s *scenario.Settings) error {
	const shortest = 10 * time.Millisecond // the resolution of /proc/stat
	switch {
	case s.Rounds < 1 || s.Handshakes < 1 || s.Window < shortest:
		return hint.Usagef("want at least 1 round, 1 handshake and a window of %v", shortest)
	case runtime.NumCPU() < 2:
		return errors.New("needs two CPUs: one for the generator, one for what is measured")
	case os.Geteuid() != 0:
		return errors.New("needs root, as it makes network namespaces and loads BPF programs (dtlsflood --engine sendmmsg does not)")
	}
	return nil
}

// measure runs one scenario after another.
func measure(ctx context.Context, entries []scenario.Entry, s *scenario.Settings) (*result.Report, error) {
	dir, err := os.MkdirTemp("", "dtlsbench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := scenario.PinSelf(); err != nil {
		return nil, err
	}
	report := scenario.NewReport(s)
	var all []scenario.Scenario
	var expected, left time.Duration
	fixtures := scenario.NewFixtures(dir)
	for i := range entries {
		c, err := entries[i].Make(fixtures)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
		left += c.Estimate(s)
	}
	began := time.Now()
	for i, c := range all {
		fmt.Fprintf(s.Progress, "== scenario %d of %d: %s; %v gone, about %v left\n", i+1, len(all), entries[i].Name,
			time.Since(began).Round(time.Second), corrected(left, expected, time.Since(began)).Round(10*time.Second))
		o, err := c.Run(ctx, s)
		if errors.Is(err, context.Canceled) {
			return nil, errors.New("interrupted: nothing was saved, and all namespaces are removed")
		}
		if err != nil { // the other scenarios' results count
			fmt.Fprintln(s.Progress, err)
			o = &result.Outcome{Name: entries[i].Name, Title: entries[i].Title, Failed: err.Error()}
		}
		left -= c.Estimate(s)
		expected += c.Estimate(s)
		report.Outcomes = append(report.Outcomes, o)
	}
	return report, nil
}

// corrected scales the estimate of the remaining time by the accuracy of the estimates so far.
func corrected(left, expected, gone time.Duration) time.Duration {
	if expected < time.Second {
		return left
	}
	return time.Duration(float64(left) * float64(gone) / float64(expected))
}
