package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// TestSeveralBackends: XDP cannot know the cookies of one of two back ends, and check reports it.
func TestSeveralBackends(t *testing.T) {
	for _, c := range []struct {
		xdp   bool
		modes []handoff.Mode
		want  string // level of what is found; "": nothing
	}{
		{true, []handoff.Mode{handoff.Trust, handoff.Replay}, "PASS"},
		{true, []handoff.Mode{handoff.Trust, handoff.Harvest}, "WARN"},
		{true, []handoff.Mode{handoff.Harvest}, ""},
		{false, []handoff.Mode{handoff.Trust, handoff.Harvest}, ""},
	} {
		r := report{OK: true, modes: c.modes}
		r.together(c.xdp)
		got := ""
		for _, f := range r.Findings {
			got += f.Level
			if f.Level == "WARN" && !strings.Contains(f.Text, "the programs know cookies of one") {
				t.Errorf("%v: no reason: %q", c.modes, f.Text)
			}
		}
		if got != c.want || !r.OK {
			t.Errorf("%v, XDP %v: %q, want %q", c.modes, c.xdp, got, c.want)
		}
	}
}

// TestTrustingBackend: whichever of several back ends accepts any cookie, interfaces past XDP are a failure.
func TestTrustingBackend(t *testing.T) {
	trusting, asking := handoff.Profile{AsksCookie: true, Trusts: true}, handoff.Profile{AsksCookie: true}
	for _, c := range []struct {
		profiles []handoff.Profile
		own      bool // they are on this host
		want     bool // nothing fails
	}{
		{[]handoff.Profile{trusting, asking}, true, false},
		{[]handoff.Profile{asking, trusting}, true, false},
		{[]handoff.Profile{asking, asking}, true, true},
		{[]handoff.Profile{trusting, asking}, false, true},
	} {
		r := report{OK: true, own: c.own}
		for _, p := range c.profiles {
			r.backend("192.0.2.1:4433", p, handoff.Trust, "", nil)
		}
		r.own = false // as of a last back end elsewhere
		r.unguarded([]string{"eth1"}, false)
		if r.OK != c.want {
			t.Errorf("%+v: ok %v, want %v: %+v", c, r.OK, c.want, r.Findings)
		}
	}
}

// TestCheckShowsEachBackend: of several back ends each has its profile in the JSON.
func TestCheckShowsEachBackend(t *testing.T) {
	r := report{OK: true}
	r.backend("192.0.2.1:4433", handoff.Profile{AsksCookie: true, Trusts: true}, handoff.Trust, "one", nil)
	r.backend("192.0.2.2:4433", handoff.Profile{AsksCookie: true}, handoff.Replay, "two", nil)
	var out bytes.Buffer
	if err := r.print(&out, true); err != nil {
		t.Fatal(err)
	}
	var got struct{ Backends []checkedBackend }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Backends) != 2 {
		t.Fatalf("%v: %s", err, out.String())
	}
	for i, want := range []checkedBackend{{"192.0.2.1:4433", handoff.Profile{AsksCookie: true, Trusts: true}, "trust", "one"}, {"192.0.2.2:4433", handoff.Profile{AsksCookie: true}, "replay", "two"}} {
		if b := got.Backends[i]; b.Address != want.Address || b.Handoff != want.Handoff || b.Why != want.Why || b.Profile.Trusts != want.Profile.Trusts {
			t.Errorf("%+v, want %+v", b, want)
		}
	}
}

// TestCheckInterrupted: an interrupted probe is neither a finding about a back end nor a success.
func TestCheckInterrupted(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go func() {
		_, _, _ = c.ReadFrom(make([]byte, 2048))
		interrupt()
	}()
	var stdout, stderr bytes.Buffer
	code := Main(ctx, []string{"check", "--backend", c.LocalAddr().String()}, &stdout, &stderr)
	if code != exitRun || !strings.Contains(stderr.String(), "interrupted") || stdout.Len() != 0 {
		t.Errorf("exit %d\n%s%s", code, &stdout, &stderr)
	}
}
