package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// version is set by the Makefile from the newest tag; a build without it shows what Go recorded.
var version = "devel"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), versionLine())
			return err
		},
	}
}

// versionLine is what version and --version print.
func versionLine() string {
	b := build()
	return fmt.Sprintf("dtlsguard %s (revision %s, %s, %s/%s)", b.Version, b.Revision, b.GoVersion, runtime.GOOS, runtime.GOARCH)
}

// build is what metrics say of this program.
func build() metrics.Build {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return metrics.Build{Version: version, Revision: revision, GoVersion: runtime.Version()}
}
