package scenario

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// NewReport describes this machine.
func NewReport(s *Settings) *result.Report {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	model := cpuInfo("model name")
	if model == "" {
		model = runtime.GOARCH
	}
	megahertz, _ := strconv.ParseFloat(cpuInfo("cpu MHz"), 64) // missing: 0, unknown
	return &result.Report{
		Load: loadAverages(),
		Time: time.Now().UTC().Truncate(time.Second), Machine: model, CPUs: runtime.NumCPU(), Clock: megahertz / 1000, Kernel: kernel,
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

// cpuInfo is the value of a key in /proc/cpuinfo for the first CPU; "" if there is none.
func cpuInfo(key string) string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
