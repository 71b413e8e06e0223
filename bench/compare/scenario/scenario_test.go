package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
)

// left fails the test if this process has left a network namespace behind.
func left(t *testing.T) {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/run/netns/dtlsguard-lab-%d-*", os.Getpid()))
	if err != nil || len(names) > 0 {
		t.Errorf("left over: %v %v", names, err)
	}
}

func testbed(t *testing.T, s *Subject, tp *xdp.Template) *Testbed {
	t.Helper()
	if s.Skip != "" {
		t.Skip(s.Skip)
	}
	b, err := newTestbed(s, tp)
	if errors.Is(err, os.ErrPermission) && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		left(t)
	})
	return b
}

func firstHello(t *testing.T) xdp.Template {
	t.Helper()
	tp, err := xdp.FirstHello(question())
	if err != nil {
		t.Fatal(err)
	}
	return tp
}

// Each subject answers what its Handled counts, at a rate that any machine can handle.
func TestSubjectsAnswer(t *testing.T) {
	w := NewFixtures(t.TempDir())
	for _, s := range []*Subject{
		guardSubject("guard", guardOptions{services: 3, flows: 5}), roundSubject(), serverSubject("openssl", w),
		guardSubject("generic", guardOptions{mode: bpf.AttachGeneric}), guardSubject("siphash", guardOptions{format: bpf.FormatV2}),
	} {
		if s.Name == "generic" {
			s.At = xdp.Stack
		}
		t.Run(s.Name, func(t *testing.T) {
			tp := firstHello(t)
			b := testbed(t, s, &tp)
			run, err := b.measure(20000, 300*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if s.Handled(&run) == 0 || run.Received == 0 || (run.Offered == 0) != b.round {
				t.Errorf("nothing handled: %+v", run)
			}
			if err := b.checkAnswers(tp); err != nil {
				t.Error(err)
			}
			answers, err := b.counter.Answers()
			if err != nil {
				t.Fatal(err)
			}
			size := uint64(102) // of a frame with a cookie of 32 bytes
			if b.format == bpf.FormatV2 {
				size -= cookie.Size - cookie.SizeV2
			}
			if b.key != nil && (answers.All != answers.Right || answers.Bytes != size*answers.All) {
				t.Errorf("answers %+v", answers)
			}
		})
	}
}

// A guard refuses the ClientHellos of the comparison because of the limit: those with a wrong cookie it would answer.
func TestRightCookiesAreVerified(t *testing.T) {
	c, err := verifiedComparison(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Subjects {
		t.Run(s.Name, func(t *testing.T) {
			b := testbed(t, s, s.Template)
			run, err := b.measure(20000, 300*time.Millisecond)
			if err != nil || run.Received == 0 || run.Answers != 0 {
				t.Errorf("%+v, %v", run, err)
			}
		})
	}
}

// A figure is good if the generator offered a third more than was handled, or the CPU had no rest.
func TestShortGeneratorIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		run  result.Run
		want bool
	}{
		"a third more": {result.Run{Offered: 1.3e6, Idle: 0.2}, false}, "less, no rest": {result.Run{Offered: 1e6, Idle: 0.02}, false},
		"less": {result.Run{Offered: 1.29e6, Idle: 0.03}, true},
	} {
		if got := short(&c.run, 1e6); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestInlineIsComparedWithBareProgramsBySize(t *testing.T) {
	var all []result.Stream
	for i, size := range streamSizes {
		for _, s := range []string{"no guard", barePass, inline} {
			r := result.Stream{Subject: s, Size: size}
			r.PerCore.Median = map[string]float64{"no guard": 9, barePass: 4, inline: float64(1 + i)}[s]
			all = append(all, r)
		}
	}
	got := inlineRatios(all)
	if len(got) != 2 || got[0].Ratio != 0.25 || got[1].Ratio != 0.5 {
		t.Errorf("%+v", got)
	}
}

func TestDropsAreReceived(t *testing.T) {
	junk, err := xdp.Junk(junkSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Subject{guardSubject("guard", guardOptions{}), dropSubject()} {
		t.Run(s.Name, func(t *testing.T) {
			b := testbed(t, s, &junk)
			run, err := b.measure(20000, 300*time.Millisecond)
			if err != nil || run.Received == 0 || run.Answers != 0 {
				t.Errorf("%+v, %v", run, err)
			}
		})
	}
}

// A subject that fails to start leaves nothing behind.
func TestFailedStartLeavesNothing(t *testing.T) {
	tp := firstHello(t)
	testbed(t, swapSubject(), &tp) // skips without privileges
	broken := errors.New("broken")
	s := &Subject{Name: "broken", Start: func(*Testbed) error { return broken }}
	if _, err := newTestbed(s, &tp); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	names, _ := filepath.Glob(fmt.Sprintf("/run/netns/dtlsguard-lab-%d-*", os.Getpid()))
	if len(names) != 3 { // those of the testbed above
		t.Errorf("namespaces %v", names)
	}
}

func TestDisturbances(t *testing.T) {
	for name, c := range map[string]struct {
		run  result.Run
		good bool
	}{
		"good":              {result.Run{Busy: 0.99}, true},
		"stolen":            {result.Run{Busy: 0.7, Steal: 0.3}, false},
		"generator slow":    {result.Run{Busy: 0.1, Idle: 0.9}, false},
		"others on the CPU": {result.Run{Busy: 0.8, Others: 0.2}, false},
	} {
		if why := disturbances(&Subject{}, &c.run); (why == nil) != c.good {
			t.Errorf("%s: %v", name, why)
		}
	}
}

func TestSilenceIsReported(t *testing.T) {
	for want, run := range map[string]result.Run{
		"no packet arrived": {Offered: 1e6}, "it answered nothing": {Offered: 1e6, Received: 1e5}, "none of its answers": {Offered: 1e6, Received: 1e5, Answers: 1e5},
	} {
		if why := silence(&run); !strings.Contains(why, want) {
			t.Errorf("%+v: %s", run, why)
		}
	}
}

func TestCPUTimeIsRead(t *testing.T) {
	a, err := readCPU(subjectCPU)
	if err != nil {
		t.Skip(err) // one CPU
	}
	time.Sleep(50 * time.Millisecond)
	b, err := readCPU(subjectCPU)
	if d := b.minus(a); err != nil || d.busy+d.idle+d.steal <= 0 {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := readCPU(1 << 20); err == nil {
		t.Error("read the time of a CPU that does not exist")
	}
	if own, err := runtimes([]int{os.Getpid()}); err != nil || own <= 0 {
		t.Errorf("own run time %v, %v", own, err)
	}
	if _, err := runtimes([]int{1 << 22}); err == nil {
		t.Error("run time of a process that cannot exist (PID_MAX_LIMIT)")
	}
}

// Real clients reach the real server during a small flood, with the guard and without.
func TestHandshakesSucceed(t *testing.T) {
	run, err := inlineHandshakes(NewFixtures(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range run.Subjects {
		t.Run(s.Name, func(t *testing.T) {
			b := testbed(t, s, &run.Template)
			h := result.Handshakes{Tried: 5}
			if err := b.under(1000, func() error {
				time.Sleep(settle)
				return b.handshakes(&h)
			}); err != nil {
				t.Fatal(err)
			}
			if h.Succeeded != h.Tried || h.P50 <= 0 || h.P99 < h.P50 {
				t.Errorf("%+v", h)
			}
			answers, err := b.counter.Answers()
			if err != nil || answers.Right == 0 {
				t.Errorf("the flood's answers: %+v, %v", answers, err)
			}
		})
	}
}

// A subject that answers nothing has no figure, but a reason.
func TestSilentSubjectHasNoFigure(t *testing.T) {
	tp := firstHello(t)
	s := dropSubject()
	s.Handled, s.Rates = rightAnswers, []float64{easy}
	testbed(t, s, &tp) // skips without privileges
	c := &Comparison{Name: "c", Template: tp, Subjects: []*Subject{s}}
	o, err := c.Run(t.Context(), quick(t))
	if err != nil {
		t.Fatal(err)
	}
	r := result.Report{Outcomes: []*result.Outcome{o}}
	if got := r.Missing(); len(got) != 1 || !strings.Contains(got[0], "it answered nothing") {
		t.Errorf("%q", got)
	}
}

func TestCostsAreFound(t *testing.T) {
	const out = `goos: linux
BenchmarkWorkerLoop/mode=trust-2         	  140527	      8493 ns/op	       132.7 ns/hello	       0 B/op
BenchmarkCookie-2 	     200	       358.0 ns/cookie-harvest	       946.5 ns/cookie-v1	       204.0 ns/cookie-v2	       508.0 ns/hello-harvest
BenchmarkHash-2 	       7	       160.0 ns/crypto-hmac	       450.0 ns/hmac
`
	for i, want := range map[int]float64{0: 132.7, 4: 946.5, 5: 204, 6: 358, 7: 450, 8: 160} {
		if v, err := costs[i].find(out); err != nil || v != want {
			t.Errorf("%s: %v, %v, want %v", costs[i].subject, v, err, want)
		}
	}
	if v, err := costs[1].find(out); err == nil {
		t.Errorf("%s: %v, which the output lacks", costs[1].subject, v)
	}
}
