package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newUnload() *cobra.Command {
	var iface, pin string
	cmd := &cobra.Command{
		Use: "unload", Short: "Take off the XDP programs that a dead guard left in force", Args: noArgs,
		Example: "  dtlsguard unload --interface eth0",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if iface == "" {
				return hint.Usagef("unload needs --interface")
			}
			found, err := bpf.Unload(bpf.PinDir(pin, iface))
			if err != nil {
				return err
			}
			answer := "nothing was left on " + iface
			if found {
				answer = iface + " is free"
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			return err
		},
	}
	cmd.Flags().StringVar(&iface, "interface", "", "where they are attached")
	cmd.Flags().StringVar(&pin, "pin", bpf.PinRoot, "what run was given as --pin")
	return cmd
}
