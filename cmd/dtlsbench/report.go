package main

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/dtlsguard/dtlsguard/bench/compare/report"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// writeReport writes the page of a file of results, and its figures into a README.
func writeReport(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	var readmes files
	flags.Var(&readmes, "readme", readmeUsage)
	clock := flags.Float64("clock", 0, "GHz to project to (default: the clock of the machine measured)")
	if err := parse(flags, args, out); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return hint.Usagef("report: want one file of results: dtlsbench report [flags] RESULTS.json")
	}
	if *clock < 0 {
		return hint.Usagef("report: -clock %v: want GHz, such as 3.5", *clock)
	}
	path := flags.Arg(0)
	r, err := result.Load(path)
	if err != nil {
		return err
	}
	if *clock > 0 && r.Clock == 0 {
		return fmt.Errorf("report: -clock: %s does not say at what clock it was measured", path)
	}
	r.ProjectTo = *clock
	if err := writePage(r, path, out); err != nil {
		return err
	}
	if len(readmes) == 0 {
		r.Print(out)
	}
	return readmes.update(r, path)
}

const readmeUsage = "Markdown `file` to write the figures to, between the lines that mark where; may be repeated"

// files is a flag that may be repeated.
type files []string

func (f *files) String() string { return strings.Join(*f, ", ") }

// Set adds a file.
func (f *files) Set(path string) error {
	*f = append(*f, path)
	return nil
}

// update writes the figures of r, whose file is results, into the files.
func (f files) update(r *result.Report, results string) error {
	for _, readme := range f {
		source, err := linkTo(results, readme)
		if err != nil {
			return err
		}
		if err := r.UpdateReadme(readme, source); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the page next to the results.
func writePage(r *result.Report, results string, out io.Writer) error {
	page := strings.TrimSuffix(results, ".json") + ".html"
	if err := report.WriteFile(page, r); err != nil {
		return err
	}
	fmt.Fprintln(out, "page:", page)
	return nil
}

// linkTo returns path relative to the directory of a file.
func linkTo(path, from string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	directory, err := filepath.Abs(filepath.Dir(from))
	if err != nil {
		return "", err
	}
	link, err := filepath.Rel(directory, absolute)
	return filepath.ToSlash(link), err
}

// compare prints how the figures of two files differ.
func compare(args []string, out io.Writer) error {
	if len(args) != 2 {
		return hint.Usagef("compare: want two files of results: dtlsbench compare A.json B.json")
	}
	a, err := result.Load(args[0])
	if err != nil {
		return err
	}
	b, err := result.Load(args[1])
	if err != nil {
		return err
	}
	return result.Compare(out, a, b)
}
