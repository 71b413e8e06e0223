package main

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// TestCheckBesideGuard: the back end of a running guard is not probed, because two probes disturb each other.
func TestCheckBesideGuard(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	at := server.LocalAddr().String()
	control := filepath.Join(t.TempDir(), "c")
	l, err := net.Listen("unix", control)
	if err != nil {
		t.Fatal(err)
	}
	guard := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := handoff.Status{Server: at, Handoff: "replay", Why: "the reason", Up: true, Profile: &handoff.Profile{AsksCookie: true, Replays: true}}
		_ = json.NewEncoder(w).Encode(frontend.Status{PID: 7, Services: []frontend.ServiceStatus{{Backends: []handoff.Status{b}}}})
	})}
	t.Cleanup(func() { _ = guard.Close() })
	go func() { _ = guard.Serve(l) }()
	r := report{OK: true, control: control}
	if err := r.probe(t.Context(), at, ""); err != nil {
		t.Fatal(err)
	}
	found := func(level, name string) bool {
		return slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Level == level && f.Name == name })
	}
	if !found("WARN", "running guard") || !found("PASS", "back end "+at) || len(r.Backends) != 1 || r.Backends[0].Handoff != "replay" || !r.OK {
		t.Errorf("got %+v", r)
	}
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // a deadline in the past would read nothing
	if n, _, err := server.ReadFrom(make([]byte, 1)); err == nil {
		t.Errorf("the server was asked: %d bytes", n)
	}
}
