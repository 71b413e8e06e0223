package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of this repository pass, and fail when something that they need is removed.
func TestCheck(t *testing.T) {
	for _, c := range []struct{ file, old, wrong, says string }{
		{"../kubernetes/daemonset.yaml", "", "", ""},
		{"../kubernetes/daemonset.yaml", "hostNetwork:", "hostNetwrok:", "hostNetwrok"},
		{"../kubernetes/daemonset.yaml", "name: dtlsguard}}\n", "name: other}}\n", `no ConfigMap "other"`},
		{"../kubernetes/daemonset.yaml", "{name: run, emptyDir", "{name: runs, emptyDir", `no volume "run"`},
		{"../kubernetes/daemonset.yaml", "{name: metrics, containerPort", "{name: http, containerPort", "a probe"},
		{"../kubernetes/daemonset.yaml", "selector: {matchLabels: {app.kubernetes.io/name: dtlsguard}}", "selector: {matchLabels: {app: other}}", "selector"},
		{"../compose.yaml", "", "", ""},
		{"../compose.yaml", "read_only:", "readonly:", "readonly"},
		{"../compose.yaml", "restart: unless-stopped", "restart: [1]", "restart"},
	} {
		text, err := os.ReadFile(c.file)
		if err != nil || !strings.Contains(string(text), c.old) {
			t.Fatal(c.file, c.old, err)
		}
		file := filepath.Join(t.TempDir(), filepath.Base(c.file))
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), c.old, c.wrong)), 0o600); err != nil {
			t.Fatal(err)
		}
		if c.old == "" {
			file = c.file
		}
		check := kubernetes
		if filepath.Base(file) == "compose.yaml" {
			check = compose
		}
		switch err := check(file); {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", c.file, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s with %q: %v", c.file, c.wrong, err)
		}
	}
}
