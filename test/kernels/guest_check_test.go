package kernels

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// On a kernel that serves every shape, check finds nothing that fails, and says how the egress program is attached.
func TestGuestCheck(t *testing.T) {
	guestOnly(t)
	l := newLab(t)
	p := startIn(t, l.Middle, "/bin/dtlsguard", "check", "--json", "--interface", lab.ToClient)
	if status := p.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	var report struct {
		Findings []struct{ Level, Name, Text string }
	}
	line, _, _ := strings.Cut(p.text(), "\n")
	if err := json.Unmarshal([]byte(line), &report); err != nil {
		t.Fatalf("%v: %s", err, p.text())
	}
	want := map[string]string{"programs": "load", "egress": "by a", "XDP mode": "native", "veth peer": "arrive"}
	for _, f := range report.Findings {
		if f.Level == "FAIL" || want[f.Name] != "" && (f.Level != "PASS" || !strings.Contains(f.Text, want[f.Name])) {
			t.Errorf("%+v", f)
		}
		delete(want, f.Name)
	}
	if len(want) > 0 {
		t.Errorf("nothing said of %v", want)
	}
}
