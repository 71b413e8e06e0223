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
		Use: "unload", Short: "Detach the XDP programs that a dead guard left attached", Args: noArgs,
		Long: `unload detaches the programs that a killed guard, or one with --keep-attached, has left on an interface. A running
guard detaches its own programs when it stops, and would attach them again: stop it instead.`,
		Example: "  dtlsguard unload --interface eth0",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if iface == "" {
				return hint.Usagef("unload needs --interface")
			}
			dir := bpf.PinDir(pin, iface)
			if bpf.InUse(dir) && !force {
				return hint.Errorf("stop the guard, which then detaches them; with --force they are detached until the guard notices",
					"unload: a guard that is alive has its programs on %s", iface)
			}
			found, err := bpf.Unload(dir)
			if err != nil {
				return err
			}
			if _, err := net.InterfaceByName(iface); !found && err != nil {
				return hint.Errorf("ip link lists the interfaces", "unload: there is no interface %s, and no guard has left programs under that name", iface)
			}
			answer := "nothing was left on " + iface
			if found {
				answer = iface + " is free"
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), answer)
			return err
		},
	}
	cmd.Flags().StringVar(&iface, "interface", "", "the interface that they are attached to")
	cmd.Flags().StringVar(&pin, "pin", bpf.PinRoot, "what run was given as --pin")
	cmd.Flags().BoolVar(&force, "force", false, "even while the guard runs")
	return cmd
}
