package frontend

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// That sources have all their flows is told when it begins, not at each look, and again when it comes back.
func TestFullSourcesAreTold(t *testing.T) {
	var said bytes.Buffer
	k := &kernel{log: slog.New(slog.NewTextHandler(&said, nil))}
	was := 0
	for i, look := range []struct{ sources, told int }{{0, 0}, {2, 1}, {3, 1}, {0, 1}, {1, 2}, {1, 2}} {
		was = k.tellFull(was, look.sources)
		if n := strings.Count(said.String(), "level=WARN"); n != look.told {
			t.Errorf("look %d, %d sources: told %d times, want %d", i, look.sources, n, look.told)
		}
	}
	if text := said.String(); !strings.Contains(text, "sources=2") || !strings.Contains(text, "flows-per-source") {
		t.Errorf("neither how many nor what to do: %s", text)
	}
}
