// Command dtlsbench measures the guard beside what it is compared with, in network namespaces that it makes
// and removes. See bench/README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/scenario"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "dtlsbench:", err)
		os.Exit(1)
	}
}

func run() error {
	s := scenario.Settings{Progress: os.Stderr}
	names := flag.String("scenario", "", "which to run, separated by commas (default: all; list: print their names)")
	results := flag.String("results", "bench/results", "directory for the results as JSON; empty: none")
	flag.DurationVar(&s.Window, "window", 2*time.Second, "length of one run")
	flag.IntVar(&s.Rounds, "rounds", 7, "runs of each subject, interleaved")
	flag.IntVar(&s.Handshakes, "handshakes", 1000, "handshakes that clients try at each level of a flood")
	flag.BoolVar(&s.KeepDisturbed, "keep-disturbed", false, "count disturbed runs too, to try things out")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("arguments that are no flags: %q", flag.Args())
	}
	dir, err := os.MkdirTemp("", "dtlsbench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	contests, err := choose(*names, dir)
	if err != nil || contests == nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("needs two CPUs: one for the generator, one for what is measured")
	}
	if err := scenario.PinSelf(); err != nil {
		return err
	}
	report := scenario.NewReport(&s)
	for _, c := range contests {
		o, err := c.Run(&s)
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%w (needs root)", err)
		}
		if err != nil {
			return err
		}
		report.Outcomes = append(report.Outcomes, o)
	}
	report.Print(os.Stdout)
	if *results == "" {
		return nil
	}
	path, err := report.Save(*results)
	if err == nil {
		fmt.Println("\nsaved as", path)
	}
	return err
}

// choose makes the contests named, all for no name, and none to print what there is.
func choose(names, dir string) ([]scenario.Scenario, error) {
	if names == "list" {
		for _, e := range scenario.Entries {
			fmt.Printf("%-14s %s\n", e.Name, e.Title)
		}
		return nil, nil
	}
	entries := scenario.Entries
	if names != "" {
		entries = nil
		for name := range strings.SplitSeq(names, ",") {
			i := slices.IndexFunc(scenario.Entries, func(e scenario.Entry) bool { return e.Name == name })
			if i < 0 {
				return nil, fmt.Errorf("no scenario %q (-scenario list prints those there are)", name)
			}
			entries = append(entries, scenario.Entries[i])
		}
	}
	var chosen []scenario.Scenario
	for _, e := range entries {
		c, err := e.Make(dir)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}
