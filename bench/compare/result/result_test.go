package result

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDisturbedRunsGiveNoFigure(t *testing.T) {
	good, stolen := Run{PerCore: 2e6}, Run{PerCore: 9e6, Disturbed: []string{"stolen"}}
	for name, c := range map[string]struct {
		runs   []Run
		keep   bool
		median float64
	}{
		"all good":      {[]Run{good, good, good}, false, 2e6},
		"one of three":  {[]Run{good, stolen, good}, false, 2e6},
		"two of three":  {[]Run{stolen, stolen, good}, false, 0},
		"all, and kept": {[]Run{stolen, stolen, stolen}, true, 9e6},
		"even number":   {[]Run{good, {PerCore: 3e6}}, false, 2.5e6},
	} {
		r := Row{Runs: c.runs}
		if r.Sum(c.keep); r.Median != c.median {
			t.Errorf("%s: median %v, want %v", name, r.Median, c.median)
		}
	}
}

// report has a row with a figure, one without, and one that was skipped.
func report(median float64) *Report {
	return &Report{Time: time.Unix(0, 0).UTC(), Machine: "M", Commit: "c", Clock: 2, Outcomes: []*Outcome{{
		Name: "swap", Title: "t", Rows: []Row{
			{Subject: "dtlsguard xdp", Spread: Spread{median, median * 0.9, median * 1.1}, Runs: make([]Run, 3), Valid: 3},
			{Subject: "b", Runs: make([]Run, 3), Valid: 1},
			{Subject: "c", Skipped: "apt-get install it"},
		}, Ratios: []Ratio{{A: "a", B: "d", Ratio: 0.5, Want: 0.6}, {A: "a", B: "b"}},
	}}}
}

func TestTextSaysWhatIsMissing(t *testing.T) {
	var out bytes.Buffer
	report(2e6).Print(&out)
	for _, want := range []string{"disturbed: 1 of 3 runs are good", "skipped: apt-get install it", "a / d: 0.500, want at least 0.60: NO", "2.000", "PROJECTION"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "a / b") {
		t.Error("a ratio with a subject that was not measured")
	}
}

func TestSavedIsLoaded(t *testing.T) {
	path, err := report(2e6).Save(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Load(path)
	if err != nil || r.Find("swap").Find("dtlsguard xdp").Median != 2e6 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, text := range []string{"", "{}", "[]"} {
		bad := filepath.Join(t.TempDir(), "bad.json")
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestCompareMarksWhatDiffers(t *testing.T) {
	for b, want := range map[float64]string{4e6: "2.000  1.636-2.444  better", 1e6: "0.500  0.409-0.611  WORSE", 2.1e6: "1.050  0.859-1.283"} {
		var out bytes.Buffer
		other := report(b)
		other.Kernel = "other"
		if err := Compare(&out, report(2e6), other); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("no %q (%v) in\n%s", want, err, out.String())
		}
		if !strings.Contains(out.String(), "! kernel") || strings.Contains(out.String(), "! machine") {
			t.Errorf("marks an equal figure, or does not mark a different one:\n%s", out.String())
		}
	}
	if err := Compare(&bytes.Buffer{}, report(2e6), &Report{}); err == nil {
		t.Error("files without a common figure are compared")
	}
}

// Line rates of 10G Ethernet: 14.88 M/s of the shortest frames is the well-known number.
func TestProjection(t *testing.T) {
	for size, want := range map[int]float64{18: 14.880952e6, 0: 14.880952e6, 67: 10e9 / 8 / 133, 1400: 10e9 / 8 / 1466} {
		if got := LineRate(10e9, size); math.Abs(got-want) > 1 {
			t.Errorf("%d bytes: %v, want %v", size, got, want)
		}
	}
	p := report(2e6).Projection(4) // 500 ns at 2 GHz
	if len(p.Stages) != 1 || p.Stages[0].Nanoseconds != 500 || p.perCore(&p.Stages[0]) != 4e6 {
		t.Errorf("%+v", p)
	}
}

func TestReadmeChangesOnlyBetweenMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + blocks[0].begin() + "old\n" + blocks[0].end() + "after\n")
	for range 2 {
		if err := report(2e6).UpdateReadme(path, "r.json"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if s := string(got); err != nil || !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, blocks[0].end()+"after\n") || strings.Contains(s, "old") || strings.Count(s, "2.000") == 0 {
		t.Errorf("%v\n%s", err, s)
	}
	write(blocks[1].begin() + blocks[1].end())
	if err := report(2e6).UpdateReadme(path, "r.json"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !strings.Contains(string(got), "a / d | 0.5 | at least 0.6 | NO |") {
		t.Errorf("%v\n%s", err, got)
	}
	write("no marks\n")
	if err := report(2e6).UpdateReadme(path, "r.json"); err == nil {
		t.Error("a file without markers is changed")
	}
}

// A second run on the same day and machine does not overwrite the first one.
func TestResultsAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	r := report(2e6)
	r.Machine, r.CPUs = "Intel(R) Xeon(R) Processor", 2
	for _, want := range []string{"1970-01-01-intel-xeon-2cpu.json", "1970-01-01-intel-xeon-2cpu-2.json"} {
		if path, err := r.Save(dir); err != nil || filepath.Base(path) != want {
			t.Errorf("%s, %v, want %s", path, err, want)
		}
	}
}

func TestMissingFiguresAreReported(t *testing.T) {
	r := report(2e6)
	r.Outcomes[0].Rows[1].Runs[0].Disturbed = []string{"silent"}
	got := r.Missing()
	if len(got) != 1 || !strings.Contains(got[0], "swap, b") || !strings.Contains(got[0], "silent") {
		t.Errorf("%q", got)
	}
}

func TestHandshakeTargets(t *testing.T) {
	took := make([]float64, 999)
	for i := range took {
		took[i] = float64(1000 - i)
	}
	flooded := Handshakes{Subject: "g", Flood: "some", Offered: 1, Tried: 1000, Targeted: true}
	flooded.Sum(took)
	if flooded.Succeeded != 999 || flooded.P50 != 501 || flooded.P99 != 991 || len(flooded.Curve) != len(CurveAt) {
		t.Errorf("%+v", flooded)
	}
	for idle, want := range map[float64]string{1: "yes", 0: "no figure"} { // at most 1002 ms, and unknown
		o := &Outcome{Name: "handshakes", Handshakes: []Handshakes{{Subject: "g", P99: idle, Succeeded: 1, Tried: 1}, flooded}}
		rows := (&Report{Outcomes: []*Outcome{o}}).targets().Rows
		if len(rows) != 2 || rows[0][4] != "yes" || rows[1][len(rows[1])-1] != want {
			t.Errorf("idle %v: %q", idle, rows)
		}
	}
	disturbed := flooded
	disturbed.Disturbed = []string{"stolen"}
	r := &Report{Outcomes: []*Outcome{{Name: "handshakes", Handshakes: []Handshakes{disturbed}}}}
	if len(r.Missing()) != 1 || len(r.Figures()) != 0 || r.targets().Rows[0][2] != "no figure" {
		t.Errorf("disturbed: %q %v %q", r.Missing(), r.Figures(), r.targets().Rows)
	}
	r.Outcomes = []*Outcome{{Costs: []Cost{{Subject: "c", Rounds: 3, Valid: 1, Disturbed: "others"}}}}
	if len(r.Missing()) != 1 || len(r.Figures()) != 0 {
		t.Errorf("disturbed: %q %v", r.Missing(), r.Figures())
	}
	if h := (Handshakes{}); h.Share() != 0 {
		t.Error("a share of none")
	}
}

// Half of the runs that count are enough to make a figure the least that can be.
func TestFigureOfShortRunsIsTheLeast(t *testing.T) {
	bad := []string{"disturbed"}
	for _, c := range []struct {
		runs []Run
		want bool
	}{
		{[]Run{{PerCore: 1}, {PerCore: 1}}, false},
		{[]Run{{PerCore: 1, Short: true}, {PerCore: 1}}, true},
		{[]Run{{PerCore: 1, Short: true}, {PerCore: 1}, {PerCore: 1}}, false},
		{[]Run{{PerCore: 1, Short: true, Disturbed: bad}, {PerCore: 1}}, false},
	} {
		r := Row{Subject: "s", Runs: c.runs}
		r.Sum(false)
		if r.AtLeast != c.want || (r.least() != "") != c.want {
			t.Errorf("%+v", r)
		}
	}
	least, full := &Row{AtLeast: true}, &Row{}
	for _, c := range []struct {
		a, b *Row
		want Bound
	}{{full, full, ""}, {least, full, AtLeast}, {full, least, AtMost}, {least, least, Unknown}} {
		if got := BoundOf(c.a, c.b); got != c.want {
			t.Errorf("%+v / %+v: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
