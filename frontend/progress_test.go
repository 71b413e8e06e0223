package frontend

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A slow start says how many back ends are ready and how many are in their first probe, and at its end how many failed.
func TestProgressOfSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &Server{config: Config{Log: slog.New(slog.NewTextHandler(&log, nil))}}
		v := new(service)
		for range 3 {
			v.targets = append(v.targets, &target{tried: make(chan struct{})})
		}
		v.targets[0].backend.Store(new(liveBackend))
		close(v.targets[0].tried)
		go s.tellProgress(t.Context(), []*service{v})
		time.Sleep(1500 * time.Millisecond) // the bubble's clock
		close(v.targets[1].tried)
		close(v.targets[2].tried)
		time.Sleep(time.Minute)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "backends=3 ready=1 probing=2 after=1s") ||
			!strings.Contains(lines[1], `probed again" backends=3 ready=1 after=3s`) {
			t.Errorf("got\n%s", log.String())
		}
	})
}
