package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/sample"
)

// terminal returns a pseudo terminal and a function that returns what was written to it, once it is closed.
func terminal(t *testing.T) (near *os.File, said func() string) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { far.Close() })
	number, err := unix.IoctlGetInt(int(far.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(far.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		near, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	return near, func() string {
		near.Close()
		text, _ := io.ReadAll(far) // ends with EIO, since the other side is closed
		return string(text)
	}
}

// someReport returns a report with each count nonzero.
func someReport() *sample.Report {
	r := new(sample.Report)
	for e := range r.Events {
		r.Events[e] = uint64(10 + e)
	}
	r.Faults[answer.RecordSeq], r.Faults[answer.Length] = 3, 4
	r.Latency = sample.Latency{Answers: 7, P50: 123 * time.Microsecond, P99: 4 * time.Millisecond, P999: 5 * time.Millisecond, Max: 6 * time.Millisecond}
	return r
}

var someCounts = counts{
	Sent: 20000, Questions: 16000, Unsent: 7, Answers: 15000, Right: 14000, Faults: [answer.FaultLen]uint64{answer.Cookie: 1000},
}

// On a terminal one line changes in place and is cleared at the end.
func TestTerminal(t *testing.T) {
	near, said := terminal(t)
	var stdout bytes.Buffer
	r := newReporter(&stdout, near, false)
	r.second(time.Second, someCounts, someReport())
	r.second(2*time.Second, someCounts, nil)
	r.summary(2*time.Second, someCounts, nil)
	text := said()
	if strings.Contains(text, "\n") || strings.Count(text, "\r") != 3 || !strings.HasSuffix(text, "\r\x1b[K") {
		t.Errorf("%q", text)
	}
	for _, want := range []string{"   1 s  sent 20.0 k/s  answers 15.0 k/s  right 14.0 k/s", "p50 0.123 ms p99 4.000 ms", "cookies taken 18 of 59"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}

// Elsewhere each second has a line.
func TestPlain(t *testing.T) {
	var stdout, stderr bytes.Buffer
	r := newReporter(&stdout, &stderr, false)
	r.second(time.Second, someCounts, someReport())
	r.summary(2*time.Second, someCounts, someReport())
	if text := stderr.String(); strings.Count(text, "\n") != 1 || strings.Contains(text, "\r") {
		t.Errorf("%q", text)
	}
	for _, want := range []string{
		"sent 20000 in 2.0 s (10.0 k/s), 7 not accepted by the kernel\n",
		"answers 15000, of them right 14000 (cookie 1000); 87.50 % of 16000 questions\n",
		"sampled clients 10: 11 unanswered, 12 answers wrong (record_seq 3, length 4)\n",
		"latency of 7 answers: p50 0.123 ms, p99 4.000 ms, p99.9 5.000 ms, longest 6.000 ms\n",
		"cookies of 13 sources: 14 were another source's as well; asked again: 15 the same, 16 another, 17 without an answer\n",
		"cookies sent back: 18 accepted (19 after a second one), 20 refused, 21 without an answer\n",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, stdout.String())
		}
	}
}

// Programs get a line of JSON per second and a final one, and nothing else.
func TestJSON(t *testing.T) {
	port := answerer(t, verify)
	code, stdout, stderr := runFlood(t, "-d", "127.0.0.1", "-p", port, "-Q", "500", "--duration", "2300ms", "--json")
	all := lines(t, stdout)
	if !ended(code, stderr) || code == exitOK && stderr != "" || len(all) != 3 || all[0].Type != "second" || all[1].Type != "second" || all[2].Type != "summary" {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	sum := all[2]
	if sum.Sent < all[0].Sent+all[1].Sent || sum.Clients["clients"] < all[0].Clients["clients"]+all[1].Clients["clients"] || all[1].Latency == nil {
		t.Errorf("the seconds are more than the sum:\n%s", stdout)
	}
}

// The summary has all counts, by their names.
func TestJSONSummary(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out, io.Discard, true)
	r.summary(2*time.Second, someCounts, someReport())
	l := lines(t, out.String())[0]
	if l.Sent != 20000 || l.Unsent != 7 || l.Questions != 16000 || l.Answers != 15000 || l.Right != 14000 || l.Seconds != 2 {
		t.Errorf("%s", out.String())
	}
	for e, name := range sample.Names {
		if name == "" || l.Clients[name] != uint64(10+e) {
			t.Errorf("event %d, %q: %d", e, name, l.Clients[name])
		}
	}
	if l.Wrong["record_seq"] != 3 || l.Wrong["length"] != 4 || len(l.Wrong) != 2 || l.Faults["cookie"] != 1000 || len(l.Faults) != 1 {
		t.Errorf("faults %v, of clients %v", l.Faults, l.Wrong)
	}
	if *l.Latency != (latency{7, 123, 4000, 5000, 6000}) {
		t.Errorf("latency %+v", *l.Latency)
	}
}

// An interrupted run reports its totals and does not complain about the rate.
func TestInterrupted(t *testing.T) {
	port := answerer(t, verify)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var stdout, stderr bytes.Buffer
	out := &watched{Buffer: &stdout, line: func() { // in the second second
		time.AfterFunc(300*time.Millisecond, cancel)
	}}
	code := Main(ctx, []string{"-d", "127.0.0.1", "-p", port, "-Q", "500", "--duration", "1h", "--json"}, out, &stderr)
	all := lines(t, stdout.String())
	last := all[len(all)-1]
	if !ended(code, stderr.String()) || last.Type != "summary" || last.Sent < all[0].Sent || last.Seconds > 3600 {
		t.Errorf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
}

// watched calls line with the first line that is written.
type watched struct {
	*bytes.Buffer
	line func()
	once sync.Once
}

func (w *watched) Write(b []byte) (int, error) {
	w.once.Do(w.line)
	return w.Buffer.Write(b)
}
