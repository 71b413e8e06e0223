package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
)

func newStatus() *cobra.Command {
	var control string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the state of the running guard; exit status 1 if it is not ready", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := askStatus(cmd.Context(), control)
			if err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				err = out.Encode(s)
			} else {
				err = printStatus(cmd.OutOrStdout(), s)
			}
			if err == nil && !s.Ready {
				err = errors.New("the guard is not ready")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object with everything, including the value of every flag")
	return cmd
}

// askStatus gets a running guard's status.
func askStatus(ctx context.Context, control string) (*frontend.Status, error) {
	return ask[frontend.Status](ctx, control, "GET", "/status")
}

// ask sends a request to a running guard and reads the answer.
func ask[T any](ctx context.Context, control, method, path string) (*T, error) {
	body, err := frontend.Ask(ctx, control, method, path)
	if err != nil {
		return nil, err
	}
	answer := new(T)
	if err := json.Unmarshal(body, answer); err != nil {
		return nil, fmt.Errorf("read the guard's answer: %w", err)
	}
	return answer, nil
}

// stages of a datagram, in order.
var stages = []string{"client", "answer", "forward", "server", "return"}

// whose names the services of a secret, where there are several secrets.
func whose(all []frontend.SecretStatus, x *frontend.SecretStatus) string {
	if len(all) < 2 {
		return ""
	}
	return " (" + strings.Join(x.Services, ", ") + ")"
}

func printStatus(out io.Writer, s *frontend.Status) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	state := "ready"
	if !s.Ready {
		state = "NOT READY: " + s.NotReady
	}
	fmt.Fprintf(w, "dtlsguard\t%s, up %v, %d flows\n", state, seconds(s.UptimeSeconds), s.Flows)
	f := &s.FlowStatus
	fmt.Fprintf(w, "flows\t%d half-open, %d established, %d idle, %d closing; at most %d, %d half-open\n",
		f.States["half-open"], f.States["established"], f.States["idle"], f.States["closing"], f.Limits["flows"], f.Limits["half-open"])
	for _, k := range slices.Sorted(maps.Keys(f.Ended)) {
		fmt.Fprintf(w, "\t%s\t%d\n", k, f.Ended[k])
	}
	for _, x := range s.Secrets {
		fmt.Fprintf(w, "secret\tkey ID %d, fingerprint %s, %v old, %d rotations, %d failures%s\n",
			x.KeyID, x.Fingerprint, seconds(x.AgeSeconds), x.Rotations, x.Failures, whose(s.Secrets, &x))
	}
	for _, v := range s.Services {
		printService(w, &v)
	}
	fmt.Fprintf(w, "received\t%d datagrams, %d lost to full socket buffers\n", s.Received, s.Overruns)
	if x := s.XDP; x != nil {
		for _, i := range x.Interfaces {
			fmt.Fprintf(w, "XDP\ton %s\n", interfaceLine(&i))
		}
		fmt.Fprintf(w, "\t%d flows, %d of them half-open\n", x.Flows, x.HalfOpen)
		for _, k := range slices.Sorted(maps.Keys(x.Verdicts)) {
			fmt.Fprintf(w, "\t%s\t%d\n", k, x.Verdicts[k])
		}
	}
	for _, stage := range stages {
		m := s.Packets[stage]
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(w, "%s\t%s\t%d\n", stage, k, m[k])
		}
	}
	return w.Flush()
}

// interfaceLine describes the programs on one interface.
func interfaceLine(i *frontend.InterfaceStatus) string {
	line := i.Interface + ", " + i.Mode
	if i.Name != "" && i.Name != i.Interface {
		line += ", now named " + i.Name
	}
	switch {
	case i.Lost != "":
		line += ", NOT IN FORCE: " + i.Lost
	case !i.Up:
		line += ", down"
	}
	if i.Reattached > 0 {
		line += fmt.Sprintf(", attached again %d times", i.Reattached)
	}
	return line
}

// printService prints the status of one service.
func printService(w io.Writer, v *frontend.ServiceStatus) {
	name, state := v.Listen, ""
	if v.Name != v.Listen {
		name = v.Name + " " + name
	}
	if !v.Ready {
		state = ", NOT READY: " + strings.Join(v.Reasons, "; ")
	}
	defer func() {
		if v.AnswerWhy != "" {
			fmt.Fprintf(w, "\tworkers answer: %s\n", v.AnswerWhy)
		}
	}()
	if v.Inline {
		fmt.Fprintf(w, "service\t%s inline, %d workers, hand-off %s%s\n", name, v.Workers, v.Backends[0].Handoff, state)
		return
	}
	for _, b := range v.Backends {
		why := " (" + b.Why + ")"
		if strings.Contains(state, b.Why) {
			why = "" // the state says it
		}
		fmt.Fprintf(w, "service\t%s -> %s, %d workers, hand-off %s%s%s\n", name, b.Server, v.Workers, b.Handoff, why, state)
		if b.Pool > 0 {
			fmt.Fprintf(w, "\t%d of %d cookies known, harvested %d times", b.Known, b.Pool, b.Harvests)
			if b.Refresh > 0 {
				fmt.Fprintf(w, ", each asked for again every %.1f s", b.Refresh)
			}
			fmt.Fprintln(w)
		}
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
