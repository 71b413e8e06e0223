package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// The constants of the dropped reasons and of the stages after them must not overlap.
func TestEventsHaveLabelsOfTheirOwn(t *testing.T) {
	seen := make(map[Label]Event)
	for e, l := range Labels {
		if l.Stage == "" {
			none := Event(e) == Dropped(hello.OK) || Event(e) == NoFlow(relay.Accepted)
			for r := range relay.ReasonLen {
				none = none || Event(e) == Evicted(r) && !r.Full()
			}
			if !none {
				t.Errorf("event %d has no label", e)
			}
			continue
		}
		if other, ok := seen[l]; ok {
			t.Errorf("events %d and %d are both %v", other, e, l)
		}
		seen[l] = Event(e)
	}
	if AnswerSent != NoFlow(relay.ReasonLen-1)+1 || NoFlow(0) != Dropped(hello.ReasonLen-1)+1 {
		t.Errorf("answer stage starts at %d, the reasons end at %d", AnswerSent, NoFlow(relay.ReasonLen-1))
	}
}

func TestCountersSumUp(t *testing.T) {
	var a, b Counters
	for _, c := range []*Counters{&a, &b} {
		c.Count(Answered)
		c.Add(AnswerSent, 3)
		c.Filled(1)
		c.Filled(64)
		c.Overran(5)
		c.Filled(3)
		c.Overran(^uint32(0)) // the kernel's counter wraps
		c.Filled(2)
		c.Overran(2)
	}
	var none Totals
	a.AddTo(&none)
	if none != (Totals{}) {
		t.Error("seen before it was published")
	}
	a.Publish()
	b.Publish()
	var got Totals
	a.AddTo(&got)
	b.AddTo(&got)
	if got.Events[Answered] != 2 || got.Events[AnswerSent] != 6 || got.Received != 140 {
		t.Errorf("totals %+v", got)
	}
	if want := uint64(2 * (1<<32 + 2)); got.Overruns != want {
		t.Errorf("%d overruns, want %d", got.Overruns, want)
	}
	if got.Fill[0] != 2 || got.Fill[1] != 2 || got.Fill[2] != 2 || got.Fill[6] != 2 {
		t.Errorf("batch fill %v", got.Fill)
	}
}

// fixed are two services that share a back end, and one that was removed.
type fixed struct{}

func (fixed) Gauges() Gauges { return Gauges{FlowLimits: map[string]int{"flows": 7}} }
func (fixed) Services() []Service {
	shared := []Backend{{Server: "192.0.2.1:1", Handoff: "trust", Up: true}}
	flows := map[string]int{"half-open": 7}
	return []Service{{Name: "one", Flows: flows, Backends: shared}, {Name: "two", Flows: flows, Backends: shared}, {Name: "three", Gone: true}}
}

func TestCollectorIsWellFormed(t *testing.T) {
	c := NewCollector(fixed{})
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	packets, flows := 0, 0
	for _, l := range Labels {
		switch l.Stage {
		case "":
		case HandshakeStage:
		case FlowStage:
			flows++
		default:
			packets++
		}
	}
	if n := testutil.CollectAndCount(c, "dtlsguard_packets_total"); n != 3*packets {
		t.Errorf("%d packet counters, want %d", n, 3*packets)
	}
	if n := testutil.CollectAndCount(c, "dtlsguard_flows_ended_total"); n != 3*flows {
		t.Errorf("%d counters of flows, want %d", n, 3*flows)
	}
}
