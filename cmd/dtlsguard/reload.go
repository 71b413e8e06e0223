package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
)

func newReload() *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: "reload", Short: "Make the running guard read its configuration and secret files again", Args: noArgs,
		Long: `reload does the same as SIGHUP and prints the result. A configuration with a mistake changes nothing; the exit
status is then 1.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := ask[frontend.Changes](cmd.Context(), control, "POST", "/reload")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), c)
			return err
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}
