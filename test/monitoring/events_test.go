package monitoring

import (
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/events"
)

// A server that goes down is reported with its service, its address and the reason, and so is its return; the other service is not affected.
func TestBackEndsAreToldOf(t *testing.T) {
	mortal := server.Start(t)
	s, web := run(t, func(c *frontend.Config) { c.Services[1].Backends = frontend.At(mortal.Addr()) })
	before := s.Events().Last()
	told := func() (list []events.Event) { list, _, _ = s.Events().After(before); return list }
	for _, silent := range []bool{true, false} {
		mortal.Change(func(m *server.Server) { m.Silent = silent })
		kind := map[bool]events.Kind{true: events.BackendDown, false: events.BackendUp}[silent]
		eventually(t, kind.String(), func() bool {
			list := told()
			return len(list) > 0 && list[len(list)-1].Kind == kind
		})
	}
	for _, e := range told() {
		text := strings.Join(e.Environment(), "\n")
		if e.Service != "two" || !strings.Contains(text, "DTLSGUARD_BACKEND="+mortal.Addr().String()) {
			t.Errorf("%s", text)
		}
		if _, why, _ := strings.Cut(text, "DTLSGUARD_ERROR="); e.Kind == events.BackendDown && why == "" {
			t.Errorf("no reason: %s", text)
		}
	}
	if text := scrape(t, web, "text/plain"); !strings.Contains(text, `dtlsguard_events_total{event="backend-down"} 1`+"\n") {
		t.Error("the event is not counted")
	}
}
