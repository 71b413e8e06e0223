package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// TestNoControlIsReported: a guard without a control socket reports it if its user has no directory for one, but not if the
// socket is switched off.
func TestNoControlIsReported(t *testing.T) {
	for _, asked := range []bool{false, true} {
		var log bytes.Buffer
		g := &guard{Loaded: &settings.Loaded{}}
		g.Control = settings.Off
		g.Config.Log = slog.New(hint.Handler(slog.NewTextHandler(&log, nil)))
		g.sayControl(!asked)
		if said := strings.Contains(log.String(), "XDG_RUNTIME_DIR"); said == asked {
			t.Errorf("asked for %v: %q", asked, log.String())
		}
	}
}
