package attacks

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is a process under test.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *output
}

// start starts a program, which is terminated with the test.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{t, exec.Command(name, args...), new(output)}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Wait()
		if t.Failed() {
			said := p.said.String()
			t.Logf("the end of the output of %s:\n%s", filepath.Base(name), said[max(0, len(said)-4000):])
		}
	})
	return p
}

// cpu is its CPU time in seconds (proc_pid_stat(5): utime and stime, in ticks of 10 ms).
func (p *program) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return float64(user+system) / 100
}

// files is the number of its open files.
func (p *program) files() int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

// memory is its resident set in KiB.
func (p *program) memory() int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.Fields(v)[0])
			return n
		}
	}
	return 0
}

// guardProgram is the guard as a built program.
type guardProgram struct {
	*program
	addr, metrics netip.AddrPort
	began         time.Time
}

// startProgram builds the guard and starts it with a limit of open files.
func startProgram(t *testing.T, files int, backend netip.AddrPort, flags string) *guardProgram {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "dtlsguard")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/dtlsguard/dtlsguard/cmd/dtlsguard").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	g := &guardProgram{addr: free(t), metrics: free(t)}
	g.began = time.Now()
	g.program = start(t, "sh", "-c", fmt.Sprintf("ulimit -n %d && exec %s run --listen %v --backend %v --metrics-listen %v --control %s/control %s",
		files, binary, g.addr, backend, g.metrics, dir, flags))
	return g
}

// get reads a page from the metrics listener.
func (g *guardProgram) get(path string) (body string, err error) {
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + g.metrics.String() + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, r.Status)
	}
	return string(b), err
}

// metric is the value of a line of /metrics, "" if there is none.
func (g *guardProgram) metric(name string) string {
	b, _ := g.get("/metrics")
	for line := range strings.Lines(b) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// flows returns the nonzero metrics of flows.
func (g *guardProgram) flows() string {
	b, _ := g.get("/metrics")
	var list []string
	for line := range strings.Lines(b) {
		if strings.HasPrefix(line, "dtlsguard_flow") && !strings.HasSuffix(line, " 0\n") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return strings.Join(list, "\n")
}

// verified is how many ClientHellos with a valid cookie have reached the server.
func (g *guardProgram) verified() int { return g.packets("verified") }

// packets is how many datagrams of clients had an outcome.
func (g *guardProgram) packets(outcome string) (n int) {
	b, _ := g.get("/metrics")
	for line := range strings.Lines(b) {
		if strings.HasPrefix(line, "dtlsguard_packets_total{") && strings.Contains(line, `outcome="`+outcome+`"`) && strings.Contains(line, `stage="client"`) {
			v, _ := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]))
			n += v
		}
	}
	return n
}
