package frontend

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// A limit that clients meet is told of once, however many meet it, and again when none has met it for a minute; those that an
// old flow makes room for count, and limits do not get mixed up.
func TestLimitsAreToldOf(t *testing.T) {
	now := time.Unix(0, 0)
	v := &service{name: "one", events: events.New(slog.New(slog.DiscardHandler), func() time.Time { return now })}
	var counted metrics.Totals
	look := func(after time.Duration, dropped, evicted uint64) (told []string) {
		before := v.events.Last()
		now = now.Add(after)
		counted.Events[metrics.NoFlow(relay.PoolFull)] += dropped
		counted.Events[metrics.Evicted(relay.FlowsFull)] += evicted
		v.lookForLimits(&counted, now)
		list, _, _ := v.events.After(before)
		for _, e := range list {
			var line strings.Builder
			for _, a := range e.Environment() {
				if name, value, _ := strings.Cut(a, "="); name != "DTLSGUARD_TIME" && name != "DTLSGUARD_NUMBER" {
					line.WriteString(value + " ")
				}
			}
			told = append(told, strings.TrimSpace(line.String()))
		}
		return told
	}
	for i, step := range []struct {
		after            time.Duration
		dropped, evicted uint64
		told             string
	}{
		{0, 0, 0, ""},
		{time.Second, 5, 0, "limit-reached one pool 5"},
		{time.Second, 7, 0, ""},
		{time.Second, 0, 3, "limit-reached one max-flows 3"},
		{57 * time.Second, 0, 1, ""},
		{2 * time.Second, 0, 0, "limit-free one pool 12"},
		{59 * time.Second, 0, 0, "limit-free one max-flows 4"},
		{time.Hour, 1, 0, "limit-reached one pool 1"},
	} {
		if told := strings.Join(look(step.after, step.dropped, step.evicted), "; "); told != step.told {
			t.Errorf("step %d: %q, want %q", i, told, step.told)
		}
	}
}
