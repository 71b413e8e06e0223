//go:build man

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"
)

// A program built with the tag man only writes its manual pages into the directory of its argument, so the installed
// program does not contain the generator. The date is that of SOURCE_DATE_EPOCH.
func init() {
	command := newRoot()
	command.DisableAutoGenTag = true
	if err := doc.GenManTree(command, &doc.GenManHeader{Section: "8", Source: "dtlsguard", Manual: "dtlsguard"}, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
