package systemd

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var whole = flag.Bool("systemd", false, "build the packages and try them under systemd, which takes minutes")

// The package as an operator uses it: testdata/package.sh says how.
func TestPackage(t *testing.T) {
	if !*whole {
		t.Skip("only with -systemd (make test-systemd)")
	}
	needRoot(t)
	dist := t.TempDir()
	build(t, dist, "1.0.0", "1.1.0")
	out := boot(t, "testdata/package.sh", dist)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "→") { // the verdict of "systemd-analyze security"
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Run("lintian", func(t *testing.T) {
		_, err := exec.LookPath("lintian")
		require(t, err, "lintian")
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
				t.Errorf("%s: built again, it is another (%v)", filepath.Base(f), err)
			}
		}
	})
}
