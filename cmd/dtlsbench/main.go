// Command dtlsbench compares the guard with other stacks, in network namespaces that it creates and removes, and reports the
// results. See bench/README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/dtlsguard/dtlsguard/bench/compare/cookies"
	"github.com/dtlsguard/dtlsguard/cmd/internal/version"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

const usage = `dtlsbench compares the guard with other stacks. It needs root and two CPUs.

    dtlsbench [run] [flags]                 measure; dtlsbench run -help
    dtlsbench report [flags] RESULTS.json   a page with drawings next to the file, and the tables as text
    dtlsbench compare A.json B.json         what became of each figure of A in B
    dtlsbench cookies [-svg FILE]           table and drawing of the cookie benchmarks on stdin (make bench-cookies)
    dtlsbench version
`

func main() {
	err := command(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		return
	}
	hint.Print(os.Stderr, err, "see dtlsbench -help")
	if errors.Is(err, hint.ErrUsage) {
		os.Exit(2)
	}
	os.Exit(1)
}

// parse parses the flags of a command; its help goes to out.
func parse(flags *flag.FlagSet, args []string, out io.Writer) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(out, "Usage of dtlsbench %s:\n", flags.Name())
		flags.SetOutput(out)
		flags.PrintDefaults()
		return err
	}
	return hint.Usage(hint.Add(err, "see dtlsbench "+flags.Name()+" -help"))
}

// command runs the command that the first argument names.
func command(args []string, out io.Writer) error {
	if len(args) == 0 {
		return run(args, out)
	}
	switch args[0] {
	case "run":
		return run(args[1:], out)
	case "report":
		return writeReport(args[1:], out)
	case "compare":
		return compare(args[1:], out)
	case "cookies":
		flags := flag.NewFlagSet("cookies", flag.ContinueOnError)
		svg := flags.String("svg", "", "`file` to draw to")
		if err := parse(flags, args[1:], out); err != nil {
			return err
		}
		return cookies.Report(os.Stdin, out, *svg)
	case "version", "-version", "--version":
		_, err := fmt.Fprintln(out, version.Line("dtlsbench"))
		return err
	case "help", "-help", "--help", "-h":
		_, err := io.WriteString(out, usage)
		return err
	}
	if args[0] == "" || args[0][0] != '-' {
		return hint.Usagef("no command %q: run, report, compare or cookies (dtlsbench help)", args[0])
	}
	return run(args, out)
}
