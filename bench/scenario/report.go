package scenario

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Report is what a benchmark run leaves.
type Report struct {
	Time     time.Time  `json:"time"`
	Machine  string     `json:"machine"`
	CPUs     int        `json:"cpus"`
	Kernel   string     `json:"kernel"`
	Commit   string     `json:"commit"`
	Load     string     `json:"load"` // averages over 1, 5 and 15 minutes before the first run
	Window   string     `json:"window"`
	Rounds   int        `json:"rounds"`
	Outcomes []*Outcome `json:"outcomes"`
}

// NewReport describes this machine.
func NewReport(s *Settings) *Report {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return &Report{
		Load: loadAverages(),
		Time: time.Now().UTC().Truncate(time.Second), Machine: cpuModel(), CPUs: runtime.NumCPU(), Kernel: kernel,
		Commit: strings.TrimSpace(string(commit)), Window: s.Window.String(), Rounds: s.Rounds,
	}
}

func loadAverages() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) > 3 {
		return strings.Join(f[:3], " ")
	}
	return "unknown"
}

// cpuModel is the first one that /proc/cpuinfo names.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// Save writes r as JSON into dir and returns the file.
func (r *Report) Save(dir string) (string, error) {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("save results: %w", err)
	}
	path := filepath.Join(dir, r.Time.Format("20060102T150405Z")+"-"+r.Commit+".json")
	if err := os.WriteFile(path, append(text, '\n'), 0o666); err != nil {
		return "", fmt.Errorf("save results: %w", err)
	}
	return path, nil
}

// Print writes r as text.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s, %d CPUs, Linux %s, commit %s\n%d runs of %s each, interleaved; load before: %s\n",
		r.Machine, r.CPUs, r.Kernel, r.Commit, r.Rounds, r.Window, r.Load)
	for _, o := range r.Outcomes {
		o.print(w)
	}
}

func (o *Outcome) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s\n", o.Name, o.Title)
	if o.Handshakes != nil {
		o.printHandshakes(w)
		return
	}
	fmt.Fprintf(w, "  %-32s %10s %19s %8s %8s %5s %5s\n", "", "M/s a core", "spread", "ns each", "offered", "busy", "runs")
	for i := range o.Rows {
		row := &o.Rows[i]
		switch {
		case row.Skipped != "":
			fmt.Fprintf(w, "  %-32s skipped: %s\n", row.Subject, row.Skipped)
		case row.Median == 0:
			fmt.Fprintf(w, "  %-32s disturbed: %d of %d runs are good\n", row.Subject, row.Valid, len(row.Runs))
		default:
			fmt.Fprintf(w, "  %-32s %10.3f %9.3f-%9.3f %8.0f %8.2f %4.0f%% %3d/%d\n", row.Subject, row.Median/1e6, row.Low/1e6, row.High/1e6,
				1e9/row.Median, row.mean(func(r *Run) float64 { return r.Offered })/1e6, 100*row.mean(func(r *Run) float64 { return r.Busy }), row.Valid, len(row.Runs))
		}
	}
	for _, c := range o.Ratios {
		if c.Ratio == 0 {
			continue
		}
		verdict := ""
		if c.Want > 0 {
			verdict = fmt.Sprintf(", want at least %.2f: %s", c.Want, map[bool]string{true: "yes", false: "NO"}[c.Ratio >= c.Want])
		}
		fmt.Fprintf(w, "  %s / %s: %.3f%s\n", c.A, c.B, c.Ratio, verdict)
	}
}

func (o *Outcome) printHandshakes(w io.Writer) {
	fmt.Fprintf(w, "  %-24s %-26s %9s %6s %14s %9s %9s %5s\n", "", "flood", "M/s", "lost", "succeeded", "p50", "p99", "busy")
	for i := range o.Handshakes {
		h := &o.Handshakes[i]
		fmt.Fprintf(w, "  %-24s %-26s %9.3f %5.1f%% %6d of %4d %6.1f ms %6.1f ms %4.0f%%\n", h.Subject, h.Flood, h.Offered/1e6,
			100*h.LinkLoss, h.Succeeded, h.Tried, h.P50, h.P99, 100*h.Busy)
	}
}

// mean is that of something over all runs.
func (r *Row) mean(of func(*Run) float64) float64 {
	var sum float64
	for i := range r.Runs {
		sum += of(&r.Runs[i])
	}
	return sum / float64(len(r.Runs))
}
