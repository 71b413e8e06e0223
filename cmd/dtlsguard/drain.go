package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
)

func newDrain() *cobra.Command {
	var control string
	cmd := &cobra.Command{
		Use: "drain", Short: "Have the running guard let no new clients in, and end with its last flow", Args: noArgs,
		Long: `drain has the guard let no new clients in. It ends when its last flow has ended, or after --drain-timeout of run; status and
readyz say meanwhile that it drains. There is no way back but a restart.`,
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
