package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newAllow() *cobra.Command {
	return newRule(addresses.Allow, "Treat the addresses of a prefix as proved",
		`allow treats the addresses of a prefix as proved: in modes reset and limit their first ClientHellos reach the server.
The longest prefix of both lists decides; of two equal ones, deny (dtlsguard deny PREFIX --remove).`)
}

func newDeny() *cobra.Command {
	return newRule(addresses.Deny, "Drop everything from the addresses of a prefix",
		`deny drops everything from the addresses of a prefix, and forgets those that were known.
A longer prefix of either list takes precedence.`)
}

// newRule is a command that puts a prefix on a list.
func newRule(list addresses.Verdict, short, long string) *cobra.Command {
	var control string
	var duration time.Duration
	var remove, asJSON bool
	cmd := &cobra.Command{
		Use: list.String() + " ADDRESS[/LENGTH]", Short: short, Long: long,
		Example: fmt.Sprintf("  dtlsguard %s 192.0.2.0/24 --for 10m\n  dtlsguard %[1]s 2001:db8::/32 --remove", list),
		RunE: func(cmd *cobra.Command, args []string) error {
			if duration < 0 {
				return hint.Usagef("--for %v: want a time from now on", duration)
			}
			if len(args) != 1 {
				return hint.Usagef("%s takes one ADDRESS or ADDRESS/LENGTH", list)
			}
			p, err := addresses.ParsePrefix(args[0])
			if err != nil {
				return hint.Usagef("%s: %w", list, err)
			}
			q := url.Values{"list": {list.String()}, "prefix": {p.String()}}
			if duration != 0 {
				q.Set("for", duration.String())
			}
			method := http.MethodPost
			if remove {
				method = http.MethodDelete
				if duration != 0 {
					return hint.Usagef("%s: --for is for a prefix that is added: leave it out with --remove", list)
				}
			}
			st, err := ask[frontend.AddressStatus](cmd.Context(), control, method, "/addresses?"+q.Encode())
			if err != nil {
				return err
			}
			return printRules(cmd.OutOrStdout(), p, st.Rules, asJSON)
		},
	}
	cmd.Flags().DurationVar(&duration, "for", 0, "for how long, 1s or more (0: until the guard ends)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "the rules of the prefix, a JSON list")
	cmd.Flags().BoolVar(&remove, "remove", false, "remove a prefix that this command has added; exit status 1 if it is not there")
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}

// printRules says what holds for a prefix.
func printRules(w io.Writer, p netip.Prefix, all []addresses.Rule, asJSON bool) (err error) {
	rules := slices.DeleteFunc(slices.Clone(all), func(r addresses.Rule) bool { return r.Prefix != p })
	i := slices.IndexFunc(rules, func(r addresses.Rule) bool { return r.Verdict == addresses.Deny })
	verdict := "denied"
	if i < 0 {
		i, verdict = 0, "allowed"
	}
	switch {
	case asJSON:
		return json.NewEncoder(w).Encode(append([]addresses.Rule{}, rules...))
	case len(rules) == 0:
		_, err = fmt.Fprintf(w, "%v is on neither list now\n", p)
	default:
		long, both := "", ""
		if s := rules[i].Seconds; s > 0 {
			long = fmt.Sprintf(" for %v", time.Duration(s*float64(time.Second)).Round(time.Second))
		}
		if slices.ContainsFunc(rules, func(r addresses.Rule) bool { return r.Verdict != rules[i].Verdict }) {
			both = ": it is on both lists, and deny goes first"
		}
		_, err = fmt.Fprintf(w, "%v is %s%s%s\n", p, verdict, long, both)
	}
	return err
}

func newAddresses() *cobra.Command {
	var control string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "addresses", Short: "Show which addresses are known, allowed and denied", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := ask[frontend.AddressStatus](cmd.Context(), control, "GET", "/addresses")
			if err != nil {
				return err
			}
			slices.SortFunc(st.Known, func(a, b frontend.KnownAddress) int { return netip.Prefix.Compare(a.Prefix, b.Prefix) })
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(st)
			}
			tab := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, r := range st.Rules {
				expires := ""
				if r.Seconds > 0 {
					expires = fmt.Sprintf("for %v more", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
				}
				fmt.Fprintf(tab, "%s\t%v\t%s\t%s\n", r.Verdict, r.Prefix, r.Source, expires)
			}
			for _, a := range st.Known {
				fmt.Fprintf(tab, "known\t%v\tseen %v ago\t\n", a.Prefix, time.Duration(a.Age)*time.Second)
			}
			return tab.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	return cmd
}
