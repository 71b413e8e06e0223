package frontend

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// TestHeldBackends: a handover holds every back end that is open: those that were replaced and only have flows left, and one
// that is opened while another one is waited for.
func TestHeldBackends(t *testing.T) {
	open := func(v *service) *liveBackend {
		e := &liveBackend{Backend: new(handoff.Backend), service: v}
		v.enrol(e)
		return e
	}
	held := func(e *liveBackend) bool {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		release, err := e.Hold(ctx)
		if err == nil {
			release()
		}
		return err != nil
	}
	v := &service{}
	replaced, current := open(v), open(v)
	v.targets = []*target{{}}
	v.targets[0].backend.Store(current)
	asking, err := current.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := make(heldBackends)
	locked := make(chan error)
	go func() { locked <- h.lock(t.Context(), []*service{v}) }()
	for !held(replaced) {
		time.Sleep(time.Millisecond)
	}
	late := open(v)
	asking()
	if err := <-locked; err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*liveBackend{"replaced": replaced, "current": current, "late": late} {
		if !held(e) {
			t.Errorf("the back end that is %s is not held", name)
		}
	}
	v.mu.Unlock()
	h.release()
	for end := time.Now().Add(await.Patience); held(replaced) || held(current) || held(late); time.Sleep(time.Millisecond) { // those that waited above
		if time.Now().After(end) {
			t.Fatal("a back end is still held")
		}
	}
}

// TestLockWithin: what is stowed waits for a reload to end, but not for ever.
func TestLockWithin(t *testing.T) {
	var m sync.Mutex
	m.Lock()
	if lockWithin(&m, time.Millisecond) {
		t.Error("it was locked twice")
	}
	go m.Unlock()
	if !lockWithin(&m, time.Minute) {
		t.Error("it was given up")
	}
}
