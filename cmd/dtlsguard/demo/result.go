package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/sockets"
	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/demo/tap"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// phase is the outcome of the handshakes before or during the flood. Times are in milliseconds, from a client's first ClientHello
// to the server's Finished.
type phase struct {
	Tried    int      `json:"tried"`
	OK       int      `json:"ok"`
	Median   float64  `json:"median_ms"`
	Max      float64  `json:"max_ms"`
	Failures []string `json:"failures,omitempty"`

	times []time.Duration
}

func (p *phase) add(took time.Duration, err error) {
	p.Tried++
	if err != nil {
		p.Failures = append(p.Failures, err.Error())
		return
	}
	p.OK++
	p.times = append(p.times, took)
}

func (p *phase) finish() {
	if len(p.times) == 0 {
		return
	}
	slices.Sort(p.times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	middle := len(p.times) / 2
	p.Median = ms((p.times[middle] + p.times[(len(p.times)-1)/2]) / 2)
	p.Max = ms(p.times[len(p.times)-1])
}

// floodResult is the flood as its generator saw it.
type floodResult struct {
	Seconds       float64 `json:"seconds"`
	Sent          uint64  `json:"sent"`
	SentPerSecond uint64  `json:"sent_per_second"`
	Answers       uint64  `json:"hello_verify_requests"`
	PerSecond     uint64  `json:"hello_verify_requests_per_second"`
	Wrong         uint64  `json:"wrong_answers"`
}

func (r *floodResult) take(c sockets.Counts) {
	*r = floodResult{
		Seconds: c.Elapsed.Seconds(), Sent: c.Sent, SentPerSecond: perSecond(c.Sent, c.Elapsed),
		Answers: c.Right, PerSecond: perSecond(c.Right, c.Elapsed), Wrong: c.Wrong,
	}
}

// result is the result of the demo.
type result struct {
	OK     bool              `json:"ok"`
	Before phase             `json:"before"`
	During phase             `json:"during"`
	Flood  floodResult       `json:"flood"`
	Server map[string]uint64 `json:"reached_server"` // datagrams by kind
	Marked uint64            `json:"reached_server_of_flood"`
	Starts uint64            `json:"server_starts"` // as the guard counted them
	Pool   int               `json:"harvest_pool"`

	counts tap.Counts
}

// take stores the counts of the tap and the guard.
func (r *result) take(c tap.Counts, s frontend.Status) {
	r.counts, r.Marked, r.Server = c, c.Marked, make(map[string]uint64)
	for k := range tap.KindLen {
		r.Server[k.String()] = c.Kinds[k]
	}
	r.Starts, r.Pool = s.Services[0].Backends[0].Harvests, s.Services[0].Backends[0].Pool
	r.OK = r.verdict() == nil
}

// verdict returns nil if everything went well, otherwise what did not.
func (r *result) verdict() error {
	var errs []string
	fail := func(format string, a ...any) { errs = append(errs, fmt.Sprintf(format, a...)) }
	for _, p := range []*phase{&r.Before, &r.During} {
		if failed := p.Tried - p.OK; failed > 0 {
			fail("%d of %d handshakes failed, the first with: %s", failed, p.Tried, p.Failures[0])
		}
	}
	if r.Marked > 0 {
		fail("%d datagrams of the flood reached the server", r.Marked)
	}
	if r.Flood.Wrong > 0 {
		fail("%d answers to the flood were wrong", r.Flood.Wrong)
	}
	if r.Flood.Answers == 0 {
		fail("the flood got no answer")
	}
	if len(errs) == 0 {
		return nil
	}
	return errors.New(strings.Join(errs, "; "))
}

// print writes the result for people or for programs.
func (r *result) print(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(cells ...string) {
		for _, c := range cells[:len(cells)-1] {
			fmt.Fprint(w, c, "\t")
		}
		fmt.Fprintln(w, cells[len(cells)-1])
	}
	phases := func(name string, cell func(p *phase) string) { row(name, cell(&r.Before), cell(&r.During)) }
	row("", "before", "during the flood")
	phases("handshakes ok / tried", func(p *phase) string { return fmt.Sprintf("%d / %d", p.OK, p.Tried) })
	phases("handshake time, median", func(p *phase) string { return fmt.Sprintf("%.1f ms", p.Median) })
	phases("handshake time, longest", func(p *phase) string { return fmt.Sprintf("%.1f ms", p.Max) })
	f := &r.Flood
	row("ClientHellos of the flood", "", fmt.Sprintf("%s per second for %.1f s, from 127.0.0.0/8", thousands(f.SentPerSecond), f.Seconds))
	row("HelloVerifyRequests", "", fmt.Sprintf("%s per second; %s checked, %s wrong", thousands(f.PerSecond), thousands(f.Answers+f.Wrong), thousands(f.Wrong)))
	if err := w.Flush(); err != nil {
		return err
	}
	return r.printServer(out)
}

// printServer writes what reached the server.
func (r *result) printServer(out io.Writer) error {
	fmt.Fprintf(out, "\ndatagrams that reached the server, by their first record\n")
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(n uint64, what string) { fmt.Fprintf(w, "  %s\t%s\n", thousands(n), what) }
	row(r.Marked, "of the flood")
	row(r.counts.Kinds[tap.FirstHello], fmt.Sprintf("ClientHellos that ask for a cookie (the guard's own: a pool of %d after each of %d starts)", r.Pool, r.Starts))
	row(r.counts.Kinds[tap.CookieHello], "ClientHellos with a cookie (the clients', and one of the guard's to try the server)")
	row(r.counts.Kinds[tap.Handshake], "other handshake messages")
	row(r.counts.Kinds[tap.ChangeCipherSpec], "changes of cipher spec")
	row(r.counts.Kinds[tap.ApplicationData], "application data")
	row(r.counts.Kinds[tap.Alert], "alerts (close_notify)")
	row(r.counts.Kinds[tap.Other], "anything else")
	return w.Flush()
}

func perSecond(n uint64, d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64(float64(n) / d.Seconds())
}

// thousands writes n with a space between groups of three digits.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
