package attacks

import (
	"bytes"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// output collects what a program prints.
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

// free returns a loopback address with a free port.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), await.FreePort(t))
}

// With more half-open flows than open files allowed, new clients are served and metrics can be read.
func TestHalfOpenFlowsBeyondTheFiles(t *testing.T) {
	t.Parallel()
	const files = 400
	s := startServer(t, true)
	p := startProgram(t, files, s.addr(), "--handoff trust --hello-rate 0 --half-open-per-source 0 --flows-per-source 0")
	eventually(t, "the guard is ready", func() bool { _, err := p.get("/readyz"); return err == nil })
	if !strings.Contains(p.said.String(), "fewer flows than asked for") {
		t.Errorf("--max-flows is above the limit of open files, and the guard did not say so")
	}
	g := &guard{t: t, addr: p.addr}
	begun, served, tried := 0, 0, 0
	began := time.Now()
	for time.Since(began) < lasting(3*time.Second, 3*time.Minute) || begun < files && time.Since(began) < patience {
		for i := range 100 {
			if g.abandon(source(i)) {
				begun++
			}
		}
		tried++
		if g.serves(source(200 + tried%100)) {
			served++
		}
		if _, err := p.get("/healthz"); err != nil {
			t.Fatalf("after %d half-open flows: %v", begun, err)
		}
	}
	t.Logf("%d half-open flows with %d files: %d of %d new clients are served\n%s", begun, files, served, tried, p.flows())
	if served != tried || begun < files {
		t.Errorf("%d of %d new clients are served while there are %d half-open flows", served, tried, begun)
	}
}
