package main

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
)

// told is a line of JSON of any type.
type told struct {
	line
	Asked float64
	Lost  float64
	Rate  float64
	Limit string
}

// lines parses the output, which must be JSON only.
func lines(t *testing.T, stdout string) (all []told) {
	t.Helper()
	for text := range strings.Lines(stdout) {
		var l told
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		t.Fatal("no output")
	}
	return all
}

// holdsRate checks that a rate is kept within 2 %, by the counts at the ends of two seconds. On a busy machine a second or two
// may be off; a wrong rate is wrong in each.
// check sees the summary.
func holdsRate(t *testing.T, rate float64, flood func(args ...string) (code int, stdout, stderr string), check func(told)) {
	t.Helper()
	const tries = 4
	var seen []float64
	for range tries {
		code, stdout, stderr := flood("-Q", strconv.Itoa(int(rate)), "--duration", "3300ms", "--json")
		if !ended(code, stderr) {
			t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
		}
		all := lines(t, stdout)
		check(all[len(all)-1])
		for i := 1; i < len(all)-1; i++ {
			got := float64(all[i].Sent) / (all[i].Seconds - all[i-1].Seconds)
			if math.Abs(got/rate-1) <= 0.02 {
				return
			}
			seen = append(seen, got)
		}
	}
	t.Errorf("want %v per second, sent in each second: %.0f", rate, seen)
}

func TestRateOfSockets(t *testing.T) {
	port := answerer(t, verify)
	holdsRate(t, 2000, func(args ...string) (int, string, string) {
		return runFlood(t, append(args, "-d", "127.0.0.1", "-p", port)...)
	}, func(all told) {
		if all.Type != "summary" || all.Sent == 0 || all.Sent != all.Questions || all.Answers < all.Right {
			t.Errorf("summary %+v", all)
		}
	})
}
