package kernels

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// checked returns the findings of dtlsguard check, which must succeed, for the lab's interface: level and text by name.
func checked(t *testing.T, l *lab.Lab) map[string]string {
	t.Helper()
	p := startIn(t, l.Middle, "/bin/dtlsguard", "check", "--json", "--interface", lab.ToClient)
	if status := p.End(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	var report struct {
		Findings []struct{ Level, Name, Text string }
	}
	line, _, _ := strings.Cut(p.Text(), "\n")
	if err := json.Unmarshal([]byte(line), &report); err != nil {
		t.Fatalf("%v: %s", err, p.Text())
	}
	found := make(map[string]string)
	for _, f := range report.Findings {
		found[f.Name] = f.Level + " " + f.Text
	}
	return found
}

// On a kernel that supports every shape, check reports no failure, says how the egress program is attached, and warns
// of a driver that hides the tags of VLANs above the interface.
func TestGuestCheck(t *testing.T) {
	guestOnly(t)
	l := newLab(t)
	expect := func(found map[string]string, name, level, text string) {
		t.Helper()
		if f := found[name]; !strings.HasPrefix(f, level+" ") || !strings.Contains(f, text) {
			t.Errorf("%s: %q, want %s with %q", name, f, level, text)
		}
	}
	found := checked(t, l)
	for name, text := range map[string]string{"programs": "load", "egress": "by a", "XDP mode": "native", "veth peer": "arrive", "shapes": "inline"} {
		expect(found, name, "PASS", text)
	}
	if tags, ok := found["VLAN tags"]; ok {
		t.Errorf("without a VLAN: %s", tags)
	}
	vlan, err := l.Middle.VLAN(lab.ToClient, 10)
	if err != nil {
		t.Fatal(err)
	}
	offload := func(state string) {
		t.Helper()
		if p := startIn(t, l.Middle, "ethtool", "-K", lab.ToClient, "rxvlan", state); p.End() != 0 {
			t.Fatal(p.Text())
		}
	}
	offload("on")
	expect(checked(t, l), "VLAN tags", "WARN", "removes tags")
	offload("off")
	expect(checked(t, l), "VLAN tags", "PASS", vlan)
}
