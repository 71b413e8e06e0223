package main

import (
	"fmt"
	"io"
	"strings"
)

// historyLength is how many frames a line of the history has: a minute.
const historyLength = 60

// history has the rates of the last minute.
type history struct{ lines [historyLines][]float64 }

// What the history shows.
const (
	historyReceived = iota
	historyAnswered
	historyDropped
	historyVerified
	historyLines
)

var historyNames = [historyLines]string{"received", "answered", "dropped", "verified"}

// totals are the counters that the history is of: what XDP did, and what workers did with what it left them.
type totals [historyLines]uint64

func (s *sample) totals() (t totals) {
	for i := range s.Services {
		v := &s.Services[i]
		for outcome, n := range v.Clients {
			t.count(outcome, n)
		}
		if s.XDP != nil {
			for verdict, n := range s.XDP.Services[v.Listen] {
				t[historyReceived] += n
				t.count(verdict, n)
			}
		}
	}
	if s.XDP == nil {
		t[historyReceived] = s.Received
	}
	return t
}

// count counts n datagrams under an outcome of workers or a verdict of XDP.
func (t *totals) count(outcome string, n uint64) {
	switch {
	case strings.HasPrefix(outcome, "answered"), outcome == "reset":
		t[historyAnswered] += n
	case strings.HasPrefix(outcome, "drop"):
		t[historyDropped] += n
	case outcome == "verified", outcome == "pass-verified":
		t[historyVerified] += n
	}
}

// add adds the rates between two samples.
func (h *history) add(was, now *sample) {
	took := now.at.Sub(was.at).Seconds()
	a, b := was.totals(), now.totals()
	for i := range h.lines {
		rate := max(0, float64(b[i])-float64(a[i])) / took // a reload may take a service away
		h.lines[i] = append(h.lines[i], rate)
		h.lines[i] = h.lines[i][max(0, len(h.lines[i])-historyLength):]
	}
}

// draw writes a line for each rate, scaled to its highest.
func (h *history) draw(w io.Writer) {
	for i, line := range h.lines {
		most := 0.0
		for _, v := range line {
			most = max(most, v)
		}
		last := 0.0
		if len(line) > 0 {
			last = line[len(line)-1]
		}
		fmt.Fprintf(w, "%s\t%.0f/s\tpeak %.0f/s\t%s\n", historyNames[i], last, most, sparkline(line, most))
	}
}

// sparkline draws values from 0 to most, one character each.
func sparkline(values []float64, most float64) string {
	const steps = "▁▂▃▄▅▆▇█"
	bars := []rune(steps)
	var b strings.Builder
	for _, v := range values {
		i := 0
		if most > 0 {
			i = min(int(v/most*float64(len(bars))), len(bars)-1)
		}
		b.WriteRune(bars[i])
	}
	return b.String()
}
