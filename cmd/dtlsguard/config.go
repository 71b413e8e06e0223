package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check and explain configurations", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(), newConfigShow(), newConfigReference(), newConfigSchema())
	return cmd
}

// load reads a configuration and checks it as run does.
func load(cmd *cobra.Command, flags *settings.Flags) (*settings.Loaded, error) {
	l, err := settings.Load(cmd.Context(), flags, hostDefaults())
	if err != nil {
		return nil, err
	}
	if err := l.Locate(l.Config.Check()); err != nil {
		if len(l.Config.Services) == 0 && !cmd.Flags().Changed("config") {
			err = forgotten(err, packagedFile)
		}
		return l, err
	}
	return l, l.WebConfig.Check()
}

// packagedFile is the configuration file of the packages. Their unit names it to the guard; a person may have to.
const packagedFile = "/etc/dtlsguard/dtlsguard.toml"

// forgotten adds a hint to an error if there is a file that was not given.
func forgotten(err error, file string) error {
	if _, missing := os.Stat(file); missing != nil {
		return err
	}
	return hint.Add(err, "--config "+file+" reads this host's configuration")
}

func newConfigCheck() *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Find mistakes in a configuration without starting anything",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return hint.Usagef("unexpected argument %q", args[1])
			}
			return nil
		},
		Example: "  dtlsguard config check /etc/dtlsguard/dtlsguard.toml",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := cmd.Flags().Set("config", args[0]); err != nil {
					return err
				}
			}
			l, err := load(cmd, flags)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if err := checkFiles(out, l); err != nil {
				return err
			}
			for _, m := range settings.Misspelt(os.Environ()) {
				fmt.Fprintf(out, "warning: %s\n", m)
			}
			advice := l.Config.Advice()
			for _, name := range slices.Sorted(maps.Keys(advice)) {
				fmt.Fprintf(out, "service %s: workers answer ClientHellos, not XDP: %s\n", name, advice[name])
			}
			_, err = fmt.Fprintf(out, "%s, no mistakes\n", count(len(l.Config.Services), "service"))
			return err
		},
	}
	flags = settings.Register(cmd.Flags(), hostDefaults())
	flags.Complete(cmd)
	return cmd
}

// checkFiles checks the files that a guard reads when it starts. Those that only the guard's user or root can read are named, and
// are no mistake.
func checkFiles(out io.Writer, l *settings.Loaded) error {
	var bad []error
	for _, err := range l.Config.CheckFiles() {
		if errors.Is(err, os.ErrPermission) {
			fmt.Fprintf(out, "not checked as this user: %v\n", err)
			continue
		}
		bad = append(bad, err)
	}
	return hint.Several(bad...)
}

func newConfigShow() *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: "show", Short: "Show the effective settings, and where each value comes from", Args: noArgs,
		Example: "  dtlsguard config show --config /etc/dtlsguard/dtlsguard.toml --hello-rate 5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(cmd, flags)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			last := ""
			l.Show(func(section, name, value, source string) {
				if section != last {
					fmt.Fprintf(w, "\n[%s]\n", section)
					last = section
				}
				fmt.Fprintf(w, "%s\t%s\t%s\n", name, value, source)
			})
			return w.Flush()
		},
	}
	flags = settings.Register(cmd.Flags(), hostDefaults())
	flags.Complete(cmd)
	return cmd
}

func newConfigReference() *cobra.Command {
	return &cobra.Command{
		Use: "reference", Short: "Print the reference of all settings (Markdown)", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return settings.Reference(cmd.OutOrStdout()) },
	}
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the configuration file", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return settings.Schema(cmd.OutOrStdout()) },
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
