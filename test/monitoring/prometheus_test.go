package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

const (
	alertsFile     = "../../deploy/prometheus/alerts.yaml"
	alertTestsFile = "../../deploy/prometheus/alerts_test.yaml"
	dashboardFile  = "../../deploy/grafana/dashboard.json"
)

// The alerts fire when they should, with the right text.
func TestAlertRules(t *testing.T) {
	need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", alertsFile}, {"test", "rules", alertTestsFile}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Each alert has a case that fires and one that does not.
func TestAlertRulesAreTestedBothWays(t *testing.T) {
	var rules struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	var cases struct {
		Tests []struct {
			Cases []struct {
				Alert  string `yaml:"alertname"`
				Firing []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, alertsFile, &rules)
	readYAML(t, alertTestsFile, &cases)
	fires, silent := make(map[string]bool), make(map[string]bool)
	for _, test := range cases.Tests {
		for _, c := range test.Cases {
			if len(c.Firing) > 0 {
				fires[c.Alert] = true
			} else {
				silent[c.Alert] = true
			}
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if !fires[r.Alert] || !silent[r.Alert] {
				t.Errorf("%s: a case that fires: %v, one that does not: %v", r.Alert, fires[r.Alert], silent[r.Alert])
			}
		}
	}
}

// readYAML decodes a file.
func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// query is a query of an alert or a panel.
type query struct{ where, expr string }

// comparison is the comparison in an alert's expression.
var comparison = regexp.MustCompile(`\s+(==|>)\s`)

// alertQueries are the alerts' expressions without their comparisons: with them there is no data unless an alert fires.
func alertQueries(t *testing.T) (list []query) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	readYAML(t, alertsFile, &file)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			list = append(list, query{"alert " + r.Alert, comparison.Split(r.Expr, 2)[0]})
		}
	}
	return list
}

// dashboardQueries are the queries of all panels.
func dashboardQueries(t *testing.T) (list []query) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(dashboardFile)
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$instance", ".*", "$service", ".*", "$__rate_interval", "10s")
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			list = append(list, query{"panel " + p.Title, fill.Replace(target.Expr)})
		}
	}
	return list
}

// prometheus runs a Prometheus that scrapes a guard every second, with more flags, and returns its address.
func prometheus(t *testing.T, guard string, flags ...string) string {
	t.Helper()
	alerts, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	addr := free(t).String()
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs: [{job_name: dtlsguard, static_configs: [{targets: [%q]}]}]\n",
		alerts, strings.TrimPrefix(guard, "http://"))
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "prometheus", append(flags, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return "http://" + addr
}

// ask runs a query and returns the number of series.
func ask(prometheus, expr string) (series int, err error) {
	resp, err := http.PostForm(prometheus+"/api/v1/query", url.Values{"query": {expr}}) //nolint:noctx,gosec // to this host
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	return len(answer.Data.Result), nil
}

// openssl runs an OpenSSL server that accepts the guard's cookies, until the test ends.
func openssl(t *testing.T) netip.AddrPort {
	t.Helper()
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := free(t)
	binary, err := peers.Find("openssl").Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, peers.Arguments(at, id, "trust")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return at
}

// Every query of the alerts and of the dashboard returns data of a guard with real clients and a flood, and the flood
// fires its alert. Queries of XDP need attached programs.
func TestQueriesGiveData(t *testing.T) {
	need(t, "prometheus", "openssl", "gcc")
	server := openssl(t)
	guard, web := run(t, func(c *frontend.Config) {
		c.AttackRate, c.Handoff = 100, handoff.Trust
		for i := range c.Services {
			c.Services[i].Backends = frontend.At(server)
		}
	})
	prom, native := prometheus(t, web.URL), prometheus(t, web.URL, "--enable-feature=native-histograms")
	flood(t, guard.Listening()[0], "127.7.7.1", "127.8.8.1")
	go func() {
		for t.Context().Err() == nil { // the client ends when its input ends
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_ = exec.CommandContext(ctx, "openssl", "s_client", "-dtls1_2", "-quiet", "-connect", guard.Listening()[1].String()).Run()
			cancel()
		}
	}()
	firing := query{"the attack's alert", `ALERTS{alertname="DTLSGuardAttack",alertstate="firing",service="one"}`}
	done := query{"a client's handshake", `dtlsguard_handshakes_total{outcome="established",service="two"} > 0`}
	for _, q := range append(append(dashboardQueries(t), alertQueries(t)...), firing, done) {
		if !strings.Contains(q.expr, "dtlsguard_xdp_") {
			q.gives(t, prom)
		}
	}
	query{"handshakes, as a native histogram", `histogram_count(dtlsguard_handshake_duration_seconds{service="two"}) > 0`}.gives(t, native)
	for _, q := range dashboardQueries(t) {
		if strings.Contains(q.expr, "dtlsguard_handshake_duration_seconds") {
			q.gives(t, native)
		}
	}
}

// gives waits until the query returns data.
func (q query) gives(t *testing.T, prometheus string) {
	t.Helper()
	var why error
	eventually(t, q.where+": "+q.expr, func() bool {
		n, err := ask(prometheus, q.expr)
		why = err
		return n > 0
	})
	if why != nil {
		t.Error(why)
	}
}
