package systemd

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

var whole = flag.Bool("systemd", false, "build the packages and test them under systemd, which takes minutes")

// runbook writes the commands of each section of docs/runbook.md to a file in dir, named after the section.
func runbook(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbook.md")
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## ")
	for section := range strings.SplitSeq(rest, "\n## ") {
		title, body, _ := strings.Cut(section, "\n")
		var commands strings.Builder
		for line := range strings.Lines(body) {
			if command, ok := strings.CutPrefix(line, "    "); ok {
				commands.WriteString(command)
			}
		}
		name := strings.ReplaceAll(strings.ToLower(title), " ", "-")
		if commands.Len() == 0 { // a section without commands
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(commands.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The package as an operator uses it: testdata/package.sh and docs/runbook.md have the commands.
func TestPackage(t *testing.T) {
	if !*whole {
		t.Skip("only with -systemd (make test-systemd)")
	}
	needRoot(t)
	dist := t.TempDir()
	build(t, dist, "1.0.0", "1.1.0")
	t.Run("life", func(t *testing.T) {
		for line := range strings.Lines(boot(t, "testdata/package.sh", dist)) {
			if strings.HasPrefix(line, "→") { // the verdict of "systemd-analyze security"
				t.Log(strings.TrimSpace(line))
			}
		}
	})
	t.Run("runbook", func(t *testing.T) {
		runbook(t, filepath.Join(dist, "runbook"))
		server, err := peers.Find("openssl").Build(t.TempDir())
		await.Require(t, "gcc and libssl-dev", err)
		if err := os.Rename(server, filepath.Join(dist, "server")); err != nil {
			t.Fatal(err)
		}
		boot(t, "testdata/runbook.sh", dist)
	})
	t.Run("lintian", func(t *testing.T) {
		_, err := exec.LookPath("lintian")
		await.Require(t, "lintian", err)
		files, err := filepath.Glob(filepath.Join(dist, "*.deb"))
		if err != nil || len(files) != 2 {
			t.Fatalf("packages: %v, %v", files, err)
		}
		if out, err := exec.Command("lintian", "--fail-on", "error,warning", files[0]).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("same bytes", func(t *testing.T) {
		again := t.TempDir()
		build(t, again, "1.0.0")
		files, err := filepath.Glob(filepath.Join(again, "*"))
		if err != nil || len(files) < 3 {
			t.Fatalf("built: %v, %v", files, err)
		}
		for _, f := range files {
			a, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(dist, filepath.Base(f))); err != nil || string(a) != string(b) {
				t.Errorf("%s: a second build differs (%v)", filepath.Base(f), err)
			}
		}
	})
}
