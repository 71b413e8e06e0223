package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/sample"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
)

// Each outcome of a run has its error.
func TestOutcome(t *testing.T) {
	mix := func(text string) traffic.Mix {
		m, err := traffic.ParseMix(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for name, c := range map[string]struct {
		mix   string
		rate  float64
		count uint64
		got   counts
		want  string // "" for a successful run
	}{
		"all answered at a rate":      {"hello", 1000, 0, counts{Sent: 1000, Questions: 1000, Answers: 1000, Right: 1000}, ""},
		"within 2 %, and late":        {"hello", 1000, 0, counts{Sent: 931, Questions: 931, Answers: 931, Right: 931}, ""},
		"too slow":                    {"hello", 1000, 0, counts{Sent: 930, Questions: 930, Answers: 930, Right: 930}, "the rate was not reached"},
		"the service lost some":       {"hello", 0, 0, counts{Sent: 5000, Questions: 5000, Answers: 4900, Right: 4900}, ""},
		"the service lost none":       {"hello", 0, 0, counts{Sent: 5000, Questions: 5000, Answers: 5000, Right: 5000}, "slower than the service"},
		"the machine lost one":        {"hello", 0, 0, counts{Sent: 5000, Questions: 5000, Answers: 4996, Right: 4996}, "slower than the service"},
		"all of a number answered":    {"hello", 0, 10, counts{Sent: 10, Questions: 10, Answers: 10, Right: 10}, ""},
		"no answer":                   {"hello", 0, 0, counts{Sent: 5000, Questions: 5000}, "no answer at all"},
		"no right answer":             {"hello", 0, 0, counts{Sent: 5000, Questions: 5000, Answers: 5000}, "none of them a HelloVerifyRequest"},
		"own record numbers":          {"hello", 9, 9, counts{Sent: 9, Questions: 9, Answers: 9, Faults: [answer.FaultLen]uint64{answer.RecordSeq: 9}}, "GnuTLS, Pion"},
		"other faults":                {"hello", 9, 9, counts{Sent: 9, Questions: 9, Answers: 9, Faults: [answer.FaultLen]uint64{answer.RecordSeq: 8, answer.Length: 1}}, "(record_seq 8, length 1)"},
		"nothing sent":                {"hello", 0, 0, counts{Unsent: 5}, "nothing was sent"},
		"junk has no answers":         {"junk", 0, 0, counts{Sent: 5000}, ""},
		"fast enough, but no answers": {"hello", 1000, 0, counts{Sent: 1000, Questions: 1000}, "no answer at all"},
	} {
		o := options{pace: pace{rate: c.rate, count: c.count}, traffic: content{mix: mix(c.mix)}, target: target{addr: netip.MustParseAddrPort("127.0.0.1:4433")}}
		var said []string
		for _, err := range []error{o.pace.slow(c.got, time.Second), o.wrong(c.got, nil), o.pace.outrun(c.got)} {
			if err != nil {
				said = append(said, err.Error())
			}
		}
		if all := strings.Join(said, "\n"); (all == "") != (c.want == "") || !strings.Contains(all, c.want) {
			t.Errorf("%s: %q, want %q", name, all, c.want)
		}
	}
	taken := new(sample.Report)
	taken.Events[sample.Accepted] = 1
	o := options{traffic: content{mix: mix("hello")}}
	if err := o.wrong(counts{Sent: 9, Questions: 9}, taken); err == nil || !strings.Contains(err.Error(), "try --return 0") {
		t.Errorf("a server that is busy with a sampled client: %v", err)
	}
}
