package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// prometheusConfig scrapes a guard in the same namespace.
const prometheusConfig = `global: {scrape_interval: 1s}
scrape_configs: [{job_name: dtlsguard, static_configs: [{targets: ["127.0.0.1:9477"]}]}]
`

// The dashboard's queries of XDP return data of an inline guard under a flood. test/monitoring tests those of workers.
func TestDashboardOfXDP(t *testing.T) {
	if _, err := exec.LookPath("prometheus"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("prometheus is not installed, which CI needs")
		}
		t.Skip("prometheus is not installed (apt-get install prometheus)")
	}
	var board struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	text, err := os.ReadFile("../../deploy/grafana/dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	g := p.run(first("--answer", "xdp", "--metrics-listen", "127.0.0.1:9477")...)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	write(t, config, prometheusConfig)
	start(t, p.Middle, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:9090")
	f := newFlooder(t, p)
	fill := strings.NewReplacer("$instance", ".*", "$service", ".*", "$__rate_interval", "10s")
	tried := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			if !strings.Contains(target.Expr, "dtlsguard_xdp_") {
				continue
			}
			tried++
			g.Until("data of "+target.Expr, func() bool {
				f.send(100)
				ask := startCmd(t, p.Middle, exec.Command("curl", "-s", "--data-urlencode", "query="+fill.Replace(target.Expr), "http://127.0.0.1:9090/api/v1/query"))
				_ = ask.End() // Prometheus may not listen yet
				return strings.Contains(ask.Text(), `"verdict":"answered"`)
			})
		}
	}
	if tried == 0 {
		t.Error("the dashboard has no query of XDP")
	}
	g.stop()
	p.free()
}
