package monitoring

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	testguard "github.com/dtlsguard/dtlsguard/bench/testkit/guard"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// need skips the test where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	await.Need(t, "prometheus", programs...)
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	await.Eventually(t, what, done)
}

// free returns a loopback address that nothing has.
func free(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), await.FreePort(t))
}

// run runs a guard with two services in front of one back end, and an HTTP server with its metrics.
func run(t *testing.T, change ...func(*frontend.Config)) (*frontend.Server, *httptest.Server) {
	t.Helper()
	backend := frontend.At(server.Start(t).Addr())
	c := frontend.Config{
		Services: []frontend.Service{
			{Name: "one", Listen: free(t), Backends: backend},
			{Name: "two", Listen: free(t), Backends: backend},
		},
		Settings: frontend.Settings{HarvestPool: 16}, Workers: 1,
		Build: metrics.Build{Version: "v0.0.0-test", Revision: "unknown", GoVersion: "go"},
	}
	for _, f := range change {
		f(&c)
	}
	s, err := frontend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	testguard.Run(t, s)
	web := httptest.NewServer(s.MetricsHandler())
	t.Cleanup(web.Close)
	eventually(t, "the guard is ready", func() bool { return s.Ready() == nil })
	return s, web
}

// scrape returns the metrics in the format that accept asks for.
func scrape(t *testing.T, web *httptest.Server, accept string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := web.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v:\n%s", resp.Status, err, b.String())
	}
	return b.String()
}

// Services that share a back end have series of their own, promtool finds no fault, and OpenMetrics is supported.
func TestMetricsAreClean(t *testing.T) {
	need(t, "promtool")
	_, web := run(t)
	text := scrape(t, web, "text/plain")
	for _, want := range []string{
		`dtlsguard_build_info{goversion="go",revision="unknown",version="v0.0.0-test"} 1`,
		`dtlsguard_packets_total{outcome="answered",reason="",service="one",stage="client"} 0`,
		`dtlsguard_packets_total{outcome="answered",reason="",service="two",stage="client"} 0`,
		`dtlsguard_handshakes_total{outcome="timed-out",service="two"} 0`,
		`dtlsguard_service_ready{service="one"} 1`,
		`dtlsguard_hello_rate_limit{scope="source",service="one"} 20`,
		`dtlsguard_addresses_known 0`,
		`dtlsguard_payload_bytes_total{direction="from-clients",service="one"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "\ndtlsguard_backend_up{"); n != 2 {
		t.Errorf("%d back ends, want the one of each service", n)
	}
	if n := strings.Count(text, "\ndtlsguard_harvest_pool_taken{"); n != 4 {
		t.Errorf("%d shares of pools, want the shares of flows and of others for each service", n)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if text := scrape(t, web, "application/openmetrics-text; version=1.0.0"); !strings.HasSuffix(text, "# EOF\n") {
		t.Error("OpenMetrics is not supported")
	}
}
