package main

import (
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newUnload() *cobra.Command {
	var iface, pin string
	var force bool
	cmd := &cobra.Command{
		Use: "unload", Short: "Take off the XDP programs that a dead guard left in force", Args: noArgs,
		Long: `unload detaches what a killed guard, or one with --keep-attached, has left on an interface. The programs of a
guard that lives are its own to detach, and it would attach them again: stop it instead.`,
		Example: "  dtlsguard unload --interface eth0",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if iface == "" {
				return hint.Usagef("unload needs --interface")
			}
			dir := bpf.PinDir(pin, iface)
			if bpf.InUse(dir) && !force {
				return hint.Errorf("stop the guard, which detaches them; --force detaches them for the moment that it takes to notice",
					"unload: a guard that is alive has its programs on %s", iface)
			}
			found, err := bpf.Unload(dir)
			if err != nil {
				return err
			}
			if _, err := net.InterfaceByName(iface); !found && err != nil {
				return hint.Errorf("ip link shows those there are", "unload: there is no interface %s, and nothing was left by that name", iface)
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
	cmd.Flags().BoolVar(&force, "force", false, "even if the guard is alive")
	return cmd
}
