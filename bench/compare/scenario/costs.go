package scenario

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// cost is a cost that a Go benchmark of this module measures.
type cost struct{ subject, path, benchmark, unit string }

// One benchmark measures the last two in turns; see package bpf.
var costs = []cost{
	{"a worker: ClientHello with its own cookie, without system calls", "frontend", "BenchmarkWorkerLoop/mode=trust", "ns/hello"},
	{"a worker: ClientHello with a harvested cookie, without system calls", "frontend", "BenchmarkWorkerLoop/mode=harvest", "ns/hello"},
	{"the kernel: a program that does nothing, with the overhead of BPF_PROG_RUN", "bpf", "BenchmarkVerdict/empty", "ns/packet"},
	{"the kernel: not DTLS, dropped", "bpf", "BenchmarkVerdict/junk", "ns/packet"},
	{"the kernel: a cookie of HMAC-SHA256, made and compared", "bpf", "BenchmarkCookie", "ns/cookie-v1"},
	{"the kernel: a cookie of SipHash, made and compared", "bpf", "BenchmarkCookie", "ns/cookie-v2"},
	{"the kernel: a harvested cookie, found and compared", "bpf", "BenchmarkCookie", "ns/cookie-harvest"},
	{"the kernel: the HMAC-SHA256 of a cookie, with the overhead of BPF_PROG_RUN", "bpf", "BenchmarkHash", "ns/hmac"},
	{"crypto/hmac with Reset: the same", "bpf", "BenchmarkHash", "ns/crypto-hmac"},
}

// Costs runs Go benchmarks, in turns, several times.
type Costs struct{ Name, Title string }

func newCosts(e *Entry, _ *Fixtures) (Scenario, error) { return &Costs{e.Name, e.Title}, nil }

// Estimate is the approximate duration.
func (c *Costs) Estimate(s *Settings) time.Duration {
	const goTest = 2 * time.Second
	return time.Duration(s.Rounds) * (2*goTest + time.Duration(len(costs)-1)*s.Window/benchShare)
}

// benchShare is the part of a window for a Go benchmark.
const benchShare = 4

// Run runs all benchmarks. It must be called below the directory of the module.
func (c *Costs) Run(ctx context.Context, s *Settings) (*result.Outcome, error) {
	o := &result.Outcome{Name: c.Name, Title: c.Title, Costs: make([]result.Cost, len(costs))}
	values := make([][]float64, len(costs))
	for round := range s.Rounds {
		for _, path := range []string{"frontend", "bpf"} {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			out, disturbed, err := benchmarks(path, s.Window/benchShare)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			for i, k := range costs {
				if k.path != path {
					continue
				}
				v, err := k.find(out)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.Name, err)
				}
				fmt.Fprintf(s.Progress, "%s %d/%d %s: %.0f ns %s\n", c.Name, round+1, s.Rounds, k.subject, v, disturbed)
				if disturbed != "" && !s.KeepDisturbed {
					o.Costs[i].Disturbed = disturbed
					continue
				}
				values[i] = append(values[i], v)
			}
		}
	}
	for i, k := range costs {
		c := &o.Costs[i]
		c.Subject, c.Spread, c.Rounds, c.Valid = k.subject, result.SpreadOf(values[i]), s.Rounds, len(values[i])
	}
	kernel, std := &o.Costs[len(costs)-2], &o.Costs[len(costs)-1]
	const most = 2.5 // times the cost of crypto/hmac
	o.Ratios = []result.Ratio{{A: std.Subject, B: kernel.Subject, Want: 1 / most}}
	if kernel.Median > 0 {
		o.Ratios[0].Ratio = std.Median / kernel.Median
	}
	return o, nil
}

// benchmarks runs the needed benchmarks of a package of this module, and returns their output and who else used the
// CPU at that time.
func benchmarks(path string, length time.Duration) (text, disturbed string, err error) {
	var names []string
	for _, k := range costs {
		if name, _, _ := strings.Cut(k.benchmark, "/"); k.path == path {
			names = append(names, name)
		}
	}
	pattern := "^(" + strings.Join(names, "|") + ")$"
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", pattern, "-benchtime", length.String(), modulePackage+"/"+path)
	from, err := readCPU(generatorCPU) // the CPU of this process
	if err != nil {
		return "", "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("%s (it needs the source of %s): %w\n%s", strings.Join(cmd.Args, " "), modulePackage, err, out)
	}
	to, err := readCPU(generatorCPU)
	if err != nil {
		return "", "", err
	}
	cpu, own := to.minus(from), cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()
	if others := cpu.busy + cpu.steal - own; others > time.Duration(mostOthers*float64(cpu.busy+cpu.idle+cpu.steal)) {
		disturbed = fmt.Sprintf("%v of the CPU used by others", others.Round(tick))
	}
	return string(out), disturbed, nil
}

// find returns k's value in the output of go test: lines of a name, a number of iterations, and values with units.
func (k *cost) find(out string) (float64, error) {
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		name := f[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of CPUs, if it is not 1
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		for i := 3; name == k.benchmark && i < len(f); i += 2 {
			if f[i] == k.unit {
				return strconv.ParseFloat(f[i-1], 64)
			}
		}
	}
	return 0, fmt.Errorf("%s of package %s: %w", k.benchmark, k.path, errors.New("go test printed no "+k.unit))
}
