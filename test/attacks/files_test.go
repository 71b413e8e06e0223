package attacks

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// output is what a program says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// free is a port of loopback that was free just now.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// More half-open flows than there are files: new clients are served, and metrics can be read.
func TestHalfOpenFlowsBeyondTheFiles(t *testing.T) {
	t.Parallel()
	const files = 400
	dir := t.TempDir()
	program := filepath.Join(dir, "dtlsguard")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/dtlsguard/dtlsguard/cmd/dtlsguard").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s, listen, metrics := startServer(t, true), free(t), free(t)
	var said output
	cmd := exec.Command("sh", "-c", fmt.Sprintf("ulimit -n %d && exec %s run --listen %v --backend %v --handoff trust --hello-rate 0 "+
		"--half-open-per-source 0 --flows-per-source 0 --metrics-listen %v --control %s/control", files, program, listen, s.addr(), metrics, dir))
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the guard said:\n%s", said.String())
		}
	})
	get := func(path string) (body string, err error) {
		c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		r, err := c.Get("http://" + metrics.String() + path)
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
	eventually(t, "the guard is ready", func() bool { _, err := get("/readyz"); return err == nil })
	if !strings.Contains(said.String(), "fewer flows than asked for") {
		t.Errorf("--max-flows is above the limit of open files, and nobody says so")
	}
	g := &guard{t: t, addr: listen}
	begun, served, tried := 0, 0, 0
	for end := time.Now().Add(lasting(3*time.Second, 3*time.Minute)); time.Now().Before(end); {
		for i := range 100 {
			if g.abandon(source(i)) {
				begun++
			}
		}
		tried++
		if g.serves(source(200 + tried%100)) {
			served++
		}
		if _, err := get("/healthz"); err != nil {
			t.Fatalf("after %d half-open flows: %v", begun, err)
		}
	}
	b, _ := get("/metrics")
	var flows []string
	for line := range strings.Lines(b) {
		if strings.HasPrefix(line, "dtlsguard_flow") && !strings.HasSuffix(line, " 0\n") {
			flows = append(flows, strings.TrimSpace(line))
		}
	}
	t.Logf("%d half-open flows with %d files: %d of %d new clients are served\n%s", begun, files, served, tried, strings.Join(flows, "\n"))
	if served != tried || begun < files {
		t.Errorf("%d of %d new clients are served beside %d half-open flows", served, tried, begun)
	}
}
