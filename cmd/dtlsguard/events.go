package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newEvents() *cobra.Command {
	var control string
	var follow, asJSON bool
	var last int
	cmd := &cobra.Command{
		Use: "events", Short: "Show recent events of the running guard", Args: noArgs,
		Long: `events shows attacks, limits that were reached, back ends that went down or came up, secrets, XDP and reloads: the
last ones that the guard keeps, oldest first. --follow prints new ones as they come. docs/monitoring.md lists the kinds and their details.`,
		Example: `  dtlsguard events
  dtlsguard events --follow --last 0
  dtlsguard events --json | jq -r 'select(.event == "attack-ended") | .prefixes[].prefix'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if last < 0 {
				return hint.Usagef("--last %d: want 0 or more", last)
			}
			q := url.Values{"last": {strconv.Itoa(last)}}
			if follow {
				q.Set("follow", "1")
			}
			r, err := frontend.AskStream(cmd.Context(), control, "GET", "/events?"+q.Encode())
			if err != nil {
				return err
			}
			defer r.Close()
			err = showEvents(cmd.OutOrStdout(), r, asJSON)
			if cmd.Context().Err() != nil {
				return nil
			}
			if follow && (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) {
				err = fmt.Errorf("the guard on %s has ended", control)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "print new events as they come")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line and event")
	cmd.Flags().IntVar(&last, "last", 100, "how many of those that were there before")
	return cmd
}

// showEvents copies the guard's lines of JSON, or prints them for people.
func showEvents(w io.Writer, r io.Reader, asJSON bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch {
		case len(lines.Bytes()) == 0: // the guard checks whether the reader is still there
		case asJSON:
			fmt.Fprintf(w, "%s\n", lines.Bytes())
		default:
			if err := printEvent(w, lines.Bytes()); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// printEvent prints a flat object as time, kind, service, and the other keys in the guard's order.
func printEvent(w io.Writer, line []byte) error {
	var known struct {
		Time    time.Time
		Event   string
		Service string
		Missed  int
	}
	if err := json.Unmarshal(line, &known); err != nil {
		return fmt.Errorf("read an event: %w", err)
	}
	if known.Missed > 0 {
		_, err := fmt.Fprintf(w, "(%d events are no longer kept)\n", known.Missed)
		return err
	}
	var rest strings.Builder
	d := json.NewDecoder(strings.NewReader(string(line)))
	_, _ = d.Token() // the object's brace
	for d.More() {
		key, err := d.Token()
		var v json.RawMessage
		if err == nil {
			err = d.Decode(&v)
		}
		if err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		switch key {
		case "number", "time", "event", "service":
		default:
			fmt.Fprintf(&rest, "  %s=%s", key, plain(v))
		}
	}
	_, err := fmt.Fprintf(w, "%s  %-16s  %s%s\n", known.Time.Local().Format(time.DateTime), known.Event, known.Service, rest.String())
	return err
}

// plain formats a JSON value for people: words without quotes, lists and objects in short form.
func plain(v json.RawMessage) string {
	var word string
	if json.Unmarshal(v, &word) == nil && word != "" && !strings.ContainsAny(word, " \t\n\"=") {
		return word
	}
	var number float64
	if json.Unmarshal(v, &number) == nil {
		return strconv.FormatFloat(number, 'f', -1, 64)
	}
	return string(v)
}
