package frontend

import (
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// A client that repeats its ClientHello when its cookie is too old is refused for that: the back end's other cookies are good.
func TestLateRefusalIsTheClientsOwn(t *testing.T) {
	w := &worker{now: int64(time.Hour)}
	for age, want := range map[time.Duration]handoff.Symptom{0: handoff.Refused, refusedSoon / 2: handoff.Refused, refusedSoon: handoff.Unanswered, time.Minute: handoff.Unanswered} {
		if got := w.refusal(&relay.Flow{Born: w.now - int64(age)}); got != want {
			t.Errorf("refused %v after its first ClientHello: symptom %d, want %d", age, got, want)
		}
	}
}
