package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/cmd/internal/version"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version.Line("dtlsguard"))
			return err
		},
	}
}
