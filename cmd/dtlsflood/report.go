package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/sample"
)

// reporter reports progress: as JSON, a line per second on stdout; for people, a line per second on stderr, which a terminal
// shows in place, and the summary on stdout.
type reporter struct {
	stdout, stderr io.Writer
	json           bool
	terminal       bool
}

func newReporter(stdout, stderr io.Writer, json bool) *reporter {
	r := &reporter{stdout: stdout, stderr: stderr, json: json}
	if f, ok := stderr.(*os.File); ok {
		r.terminal = term.IsTerminal(int(f.Fd()))
	}
	return r
}

// line is a line of JSON. Type "second" has the counts since the previous line, "summary" the totals.
type line struct {
	Type      string            `json:"type"`
	Seconds   float64           `json:"seconds"` // since the start
	Sent      uint64            `json:"sent"`
	Unsent    uint64            `json:"unsent"`
	Questions uint64            `json:"questions"` // of those sent
	Answers   uint64            `json:"answers"`
	Right     uint64            `json:"right"`
	Faults    map[string]uint64 `json:"faults,omitempty"`  // of the other answers; not counted by engine xdp
	Clients   map[string]uint64 `json:"clients,omitempty"` // the sampled ones
	Wrong     map[string]uint64 `json:"client_faults,omitempty"`
	Latency   *latency          `json:"latency_us,omitempty"`
}

// latency is of questions of sampled clients, in microseconds.
type latency struct {
	Answers uint64 `json:"answers"`
	P50     int64  `json:"p50"`
	P99     int64  `json:"p99"`
	P999    int64  `json:"p999"`
	Max     int64  `json:"max"`
}

// second reports the counts of the last second.
func (r *reporter) second(at time.Duration, c counts, s *sample.Report) {
	if r.json {
		r.line("second", at, c, s)
		return
	}
	text := fmt.Sprintf("%4.0f s  sent %s  answers %s  right %s", at.Seconds(),
		perSecond(float64(c.Sent)), perSecond(float64(c.Answers)), perSecond(float64(c.Right)))
	if s != nil {
		e := &s.Events
		text += fmt.Sprintf("  latency p50 %s p99 %s  cookies taken %d of %d", ms(s.Latency.P50), ms(s.Latency.P99),
			e[sample.Accepted], e[sample.Accepted]+e[sample.Refused]+e[sample.Silent])
	}
	r.progress(text)
}

// progress shows a line to people.
func (r *reporter) progress(text string) {
	switch {
	case r.json:
	case r.terminal:
		const eraseRest = "\x1b[K"
		fmt.Fprintf(r.stderr, "\r%s%s", text, eraseRest)
	default:
		fmt.Fprintln(r.stderr, text)
	}
}

// clear removes the line from a terminal before other output.
func (r *reporter) clear() {
	if r.terminal && !r.json {
		fmt.Fprint(r.stderr, "\r\x1b[K")
	}
}

// summary reports the totals.
func (r *reporter) summary(took time.Duration, c counts, s *sample.Report) {
	r.clear()
	if r.json {
		r.line("summary", took, c, s)
		return
	}
	fmt.Fprintf(r.stdout, "sent %d in %.1f s (%s), %d not accepted by the kernel\n", c.Sent, took.Seconds(), perSecond(float64(c.Sent)/took.Seconds()), c.Unsent)
	fmt.Fprintf(r.stdout, "answers %d, of them right %d%s; %s of %d questions\n", c.Answers, c.Right, faults(c.Faults), percent(c.Right, c.Questions), c.Questions)
	if s != nil {
		r.clients(s)
	}
}

// clients reports the outcomes of sampled clients.
func (r *reporter) clients(s *sample.Report) {
	e := &s.Events
	fmt.Fprintf(r.stdout, "sampled clients %d: %d unanswered, %d answers wrong%s\n", e[sample.Clients], e[sample.Unanswered], e[sample.Wrong], faults(s.Faults))
	l := s.Latency
	fmt.Fprintf(r.stdout, "  latency of %d answers: p50 %s, p99 %s, p99.9 %s, longest %s\n", l.Answers, ms(l.P50), ms(l.P99), ms(l.P999), ms(l.Max))
	fmt.Fprintf(r.stdout, "  cookies of %d sources: %d were another source's as well; asked again: %d the same, %d another, %d without an answer\n",
		e[sample.Compared], e[sample.Shared], e[sample.Same], e[sample.Changed], e[sample.Unrepeated])
	fmt.Fprintf(r.stdout, "  cookies sent back: %d accepted (%d after a second one), %d refused, %d without an answer\n",
		e[sample.Accepted], e[sample.AskedTwice], e[sample.Refused], e[sample.Silent])
}

// faults lists the faults of wrong answers, in brackets.
func faults(counts [answer.FaultLen]uint64) string {
	var all []string
	for f, n := range counts {
		if n > 0 {
			all = append(all, fmt.Sprintf("%v %d", answer.Fault(f), n))
		}
	}
	if all == nil {
		return ""
	}
	return " (" + strings.Join(all, ", ") + ")"
}

func (r *reporter) line(kind string, at time.Duration, c counts, s *sample.Report) {
	l := line{Type: kind, Seconds: at.Seconds(), Sent: c.Sent, Unsent: c.Unsent, Questions: c.Questions, Answers: c.Answers, Right: c.Right}
	l.Faults = named(c.Faults)
	if s != nil {
		l.Clients, l.Wrong = make(map[string]uint64), named(s.Faults)
		for e, n := range s.Events {
			l.Clients[sample.Names[e]] = n
		}
		t := s.Latency
		l.Latency = &latency{t.Answers, t.P50.Microseconds(), t.P99.Microseconds(), t.P999.Microseconds(), t.Max.Microseconds()}
	}
	r.encode(l)
}

// named returns the faults that occurred.
func named(counts [answer.FaultLen]uint64) map[string]uint64 {
	all := make(map[string]uint64)
	for f, n := range counts {
		if n > 0 {
			all[answer.Names[f]] = n
		}
	}
	return all
}

// encode writes a line of JSON.
func (r *reporter) encode(v any) {
	if text, err := json.Marshal(v); err == nil { // numbers and strings always can be encoded
		fmt.Fprintf(r.stdout, "%s\n", text)
	}
}

func perSecond(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f M/s", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.1f k/s", n/1e3)
	}
	return fmt.Sprintf("%.0f/s", n)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.3f ms", float64(d.Microseconds())/1e3) }

func percent(part, of uint64) string {
	if of == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(of))
}

// step reports one step of a search.
func (r *reporter) step(asked, sent, lost float64) {
	if !r.json {
		fmt.Fprintf(r.stdout, "step: %.0f asked for, %.0f per second sent, %.4f lost\n", asked, sent, lost)
		return
	}
	r.encode(struct {
		Type  string  `json:"type"`
		Asked float64 `json:"asked"` // per second; 0: as fast as possible
		Sent  float64 `json:"sent"`  // per second
		Lost  float64 `json:"lost"`  // share of the questions
	}{"step", asked, sent, lost})
}

// found reports the result of a search: a rate with at most lost of the questions unanswered, and the lowest rate above that;
// if there is none, the generator is the limit.
func (r *reporter) found(rate, tooMuch, lost float64) {
	limit := "service"
	if tooMuch == 0 {
		limit = "generator"
	}
	switch {
	case r.json:
		r.encode(struct {
			Type    string  `json:"type"`
			Rate    float64 `json:"rate"`     // per second
			TooMuch float64 `json:"too_much"` // per second; 0: there was none
			Lost    float64 `json:"lost"`     // allowed share of the questions
			Limit   string  `json:"limit"`
		}{"ndr", rate, tooMuch, lost, limit})
	case tooMuch != 0:
		fmt.Fprintf(r.stdout, "non-drop rate: %.0f per second with at most %g lost; %.0f were too many\n", rate, lost, tooMuch)
	}
}
