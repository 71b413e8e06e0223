package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func channel() (*Channel, *bytes.Buffer) {
	var log bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return New(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return at }), &log
}

func TestKindsAreDescribed(t *testing.T) {
	seen := make(map[string]bool)
	for k := range KindLen {
		meaning, details := k.Doc()
		if k.String() == "" || seen[k.String()] || meaning == "" || len(details) == 0 {
			t.Errorf("kind %d: %q, %q, %v", k, k, meaning, details)
		}
		seen[k.String()] = true
	}
}

// A reader gets each event once and in order; one that is too slow is told how many it has missed.
func TestAfter(t *testing.T) {
	c, _ := channel()
	if list, missed, _ := c.After(0); len(list) != 0 || missed != 0 {
		t.Fatal(list, missed)
	}
	_, _, more := c.After(0)
	c.Emit(Reloaded, "", "changes", "none")
	select {
	case <-more:
	default:
		t.Error("a reader is not told that there is more")
	}
	for range Size + 2 {
		c.Emit(SecretRotated, "", "key_id", 1)
	}
	list, missed, _ := c.After(1)
	if missed != 2 || len(list) != Size || list[0].Number != 4 || list[Size-1].Number != c.Last() {
		t.Errorf("%d events from %d to %d, %d missed", len(list), list[0].Number, list[len(list)-1].Number, missed)
	}
	if list, missed, _ := c.After(c.Last()); len(list) != 0 || missed != 0 {
		t.Error(len(list), missed)
	}
	if n := c.Counts(); n[SecretRotated] != Size+2 || n[Reloaded] != 1 {
		t.Error(n)
	}
	if list, missed, _ = c.After(c.Last() + 7); len(list) != 0 || missed != 0 { // of a guard before a restart
		t.Error(len(list), missed)
	}
}

func TestForms(t *testing.T) {
	c, log := channel()
	c.Emit(LimitReached, "one", "limit", "pool", "clients", 3)
	c.Emit(BackendDown, "one", "backend", "b:1", "error", errors.New("gone\nA=B\x00"))
	list, _, _ := c.After(0)
	text, err := json.Marshal(list)
	if err != nil || !strings.Contains(string(text), `{"number":1,"time":"2026-01-02T03:04:05Z","event":"limit-reached","service":"one","limit":"pool","clients":3}`) {
		t.Errorf("%s, %v", text, err)
	}
	env := list[1].Environment()
	for _, want := range []string{"DTLSGUARD_EVENT=backend-down", "DTLSGUARD_SERVICE=one", "DTLSGUARD_BACKEND=b:1", "DTLSGUARD_ERROR=gone A=B "} {
		if !slices.Contains(env, want) {
			t.Errorf("no %q in %q", want, env)
		}
	}
	if s := log.String(); !strings.Contains(s, `level=WARN msg="limit of flows reached" service=one limit=pool clients=3`) || strings.Contains(s, "gone") {
		t.Errorf("the log says:\n%s", s)
	}
	var none *Channel
	none.Emit(Reloaded, "")
}

// Another process continues the events: earlier ones read the same, its own come after them, and counts add up.
func TestContinue(t *testing.T) {
	first, _ := channel()
	for range Size {
		first.Emit(Reloaded, "", "changes", "none")
	}
	first.Emit(AttackStarted, "a", "rate", 1_234_567, "for", 90*time.Second, "dropped", map[string]uint64{"junk": 5})
	first.Emit(BackendDown, "b", "backend", "127.0.0.1:1", "error", errors.New("silent"))
	handed, err := json.Marshal(first.State())
	if err != nil {
		t.Fatal(err)
	}
	var state State
	if err := json.Unmarshal(handed, &state); err != nil {
		t.Fatal(err)
	}
	second, _ := channel()
	second.Emit(XDPAttached, "", "interface", "eth0", "mode", "native")
	_, _, more := second.After(1)
	second.Continue(&state)
	select {
	case <-more:
	default:
		t.Error("a reader was not woken")
	}
	before, _, _ := first.After(1)
	after, missed, _ := second.After(1)
	if missed != 2 || len(after) != Size {
		t.Fatalf("%d events before; after %d, %d missed", len(before), len(after), missed)
	}
	was, _ := json.Marshal(before[len(before)-len(after)+1:])
	is, _ := json.Marshal(after[:len(after)-1])
	if !bytes.Equal(was, is) {
		t.Errorf("events before and after differ:\n%s\n%s", was[len(was)-400:], is[len(is)-400:])
	}
	last := after[len(after)-1]
	counts := second.Counts()
	if last.Kind != XDPAttached || last.Number != Size+3 || counts[Reloaded] != Size || counts[AttackStarted] != 1 || counts[XDPAttached] != 1 {
		t.Errorf("last %+v, counts %v", last, counts)
	}
	second.Emit(BackendUp, "b", "backend", "127.0.0.1:1")
	if second.Last() != Size+4 {
		t.Errorf("number %d after %d", second.Last(), Size+3)
	}
}
