package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
)

func newDrain() *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: "drain", Short: "Make the running guard refuse new clients, and end with its last flow", Args: noArgs,
		Long: `drain makes the guard refuse new clients. It ends when its last flow has ended, or after --drain-timeout of run; status and
/readyz report that it drains. Only a restart undoes it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := ask[frontend.Draining](cmd.Context(), control, "POST", "/drain")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), d)
			return err
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}
