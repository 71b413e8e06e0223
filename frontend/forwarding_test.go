package frontend

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// A host that forwards must name the addresses that it protects.
func TestTransit(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	off, on, none := file("off", "0\n"), file("on", "1\n"), filepath.Join(dir, "none")
	for _, c := range []struct {
		protect string
		files   []string
		want    bool
	}{
		{"::", []string{off, on}, true}, {"0.0.0.0", []string{on, off}, true}, {"::", []string{off, none}, false}, {"198.18.0.1", []string{on, on}, false},
	} {
		if got := transit(netip.MustParseAddr(c.protect), c.files); got != c.want {
			t.Errorf("%s, %v: %v", c.protect, c.files, got)
		}
	}
}
