// Command info prints what the programs of package bpf cost the kernel that it runs on.
package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/dtlsguard/dtlsguard/bpf"
)

func main() {
	costs, err := bpf.Costs()
	if err != nil {
		fmt.Fprintln(os.Stderr, "info:", err)
		os.Exit(1)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "program\tBPF bytes\tmachine code bytes\tinstructions verified (limit 1000000)\tstack by function (chain limit 512)")
	for _, c := range costs {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\n", c.Program, c.Bytes, c.Machine, c.Verified, c.Stack)
	}
}
