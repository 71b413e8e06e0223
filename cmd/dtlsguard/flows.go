package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// flowsCommand is the common part of flows and flows kill.
type flowsCommand struct{ control, service string }

func (f *flowsCommand) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.service, "service", "", "only those of a service, by its name or address")
	cmd.Flags().StringVar(&f.control, "control", defaultAsk(), "the guard's unix socket")
}

func newFlows() *cobra.Command {
	var f flowsCommand
	var asJSON bool
	cmd := &cobra.Command{
		Use: "flows", Short: "List the verified clients' flows", Args: noArgs,
		Long: `flows lists who is connected: the client, and the address and port that the server sees in its place,
by which a server's log can be read. In no order; as many lines as there are flows.

TO SERVER and TO CLIENT are datagrams and bytes of payload. Of a server that keeps its port (--protect) the
kernel knows the client, the state and how long it was silent, to a second; the rest is a dash.`,
		Example: `  dtlsguard flows
  dtlsguard flows --service turn --json | jq -r 'select(.upstream == "127.0.0.1:40112").client'
  dtlsguard flows kill 192.0.2.7`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := frontend.AskStream(cmd.Context(), f.control, "GET", "/flows?"+url.Values{"service": {f.service}}.Encode())
			if err != nil {
				return err
			}
			defer r.Close()
			if asJSON {
				_, err = io.Copy(cmd.OutOrStdout(), r)
			} else {
				err = printFlows(cmd.OutOrStdout(), r)
			}
			if err != nil {
				return fmt.Errorf("read the guard's answer: %w", err)
			}
			return nil
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line and flow")
	cmd.AddCommand(newFlowsKill())
	return cmd
}

// flowLine is a line of the list. Its columns are as wide as IPv4 takes; what is longer moves the rest of its line.
const flowLine = "%-20s %-21s %-21s %-21s %-11s %6s %6s %16s %16s\n"

func printFlows(w io.Writer, r io.Reader) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, flowLine, "SERVICE", "CLIENT", "UPSTREAM", "SERVER", "STATE", "AGE", "IDLE", "TO SERVER", "TO CLIENT")
	in := json.NewDecoder(r)
	for {
		var f frontend.Flow
		if err := in.Decode(&f); errors.Is(err, io.EOF) {
			return out.Flush()
		} else if err != nil {
			return errors.Join(err, out.Flush())
		}
		upstream, age := "-", "-"
		if f.Upstream.IsValid() {
			upstream = f.Upstream.String()
		}
		if f.Age != nil {
			age = short(*f.Age)
		}
		fmt.Fprintf(out, flowLine, f.Service, f.Client, upstream, f.Server, f.State, age, short(f.Idle), carried(f.ToServer), carried(f.ToClient))
	}
}

// carried formats traffic.
func carried(t *frontend.FlowTraffic) string {
	if t == nil {
		return "-"
	}
	return fmt.Sprintf("%d / %s", t.Packets, sized(t.Bytes))
}

// sized formats a number of bytes in three digits and a decimal unit.
func sized(n uint64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1000, 0
	for ; v >= 999.5 && unit < len(units)-1; unit++ {
		v /= 1000
	}
	digits := 0 // after the point
	for most := 9.995; digits < 2 && v < most*10; most /= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %s", digits, v, units[unit])
}

// units of bytes from 1000 on.
var units = []string{"kB", "MB", "GB", "TB"}

// short is a duration of at most four characters and a unit.
func short(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0fh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}

func newFlowsKill() *cobra.Command {
	var f flowsCommand
	var all bool
	cmd := &cobra.Command{
		Use: "kill ADDRESS[:PORT] | ADDRESS/LENGTH | --all", Short: "End flows",
		Long: `kill ends the flows of the clients that are named. Neither side is told: what such a client sends is dropped
until it begins a new handshake, which it may do at once; deny keeps it out. A server that keeps its port
(--protect) brings a flow back by sending to the client.

Exit status 1 if there was no such flow.`,
		Example: `  dtlsguard flows kill 192.0.2.7:40112
  dtlsguard flows kill 2001:db8::/32
  dtlsguard flows kill --all --service turn`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"service": {f.service}}
			switch {
			case all && len(args) == 0:
				q.Set("all", "1")
			case !all && len(args) == 1:
				if err := new(frontend.FlowFilter).ParseClients(args[0]); err != nil {
					return hint.Usagef("kill: %w", err)
				}
				q.Set("client", args[0])
			default:
				return hint.Usagef("kill takes one ADDRESS, ADDRESS:PORT or ADDRESS/LENGTH, or --all")
			}
			done, err := ask[frontend.FlowsEnded](cmd.Context(), f.control, "POST", "/flows/kill?"+q.Encode())
			if err != nil {
				return err
			}
			if done.Ended == 0 && !all {
				return fmt.Errorf("there is no flow of %s", args[0])
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s ended\n", count(done.Ended, "flow"))
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "the flows of all clients")
	return cmd
}
