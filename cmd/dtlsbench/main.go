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
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

const usage = `dtlsbench measures the guard beside what it is compared with. It needs root and two CPUs.

    dtlsbench [run] [flags]                 measure; dtlsbench run -help
    dtlsbench report [flags] RESULTS.json   a page with drawings beside the file, and the tables as text
    dtlsbench compare A.json B.json         what became of each figure of A in B
    dtlsbench cookies [-svg FILE]           table and drawing of the cookie benchmarks on stdin (make bench-cookies)
`

func main() {
	err := command(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		hint.Print(os.Stderr, err, "see dtlsbench -help")
		os.Exit(1)
	}
}

// command runs what the first argument names.
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
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return cookies.Report(os.Stdin, out, *svg)
	case "help", "-help", "--help", "-h":
		_, err := io.WriteString(out, usage)
		return err
	}
	if args[0] == "" || args[0][0] != '-' {
		return fmt.Errorf("no command %q: run, report, compare or cookies (dtlsbench help)", args[0])
	}
	return run(args, out)
}
