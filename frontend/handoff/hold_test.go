package handoff

import (
	"context"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// TestHoldOfABusyWatch: a watch that fills a pool lets go between two slices only for a moment, and is held all the same.
func TestHoldOfABusyWatch(t *testing.T) {
	b := new(Backend)
	stop, done, filling := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			b.turn.Lock()
			if n == 0 {
				close(filling)
			}
			time.Sleep(slice)
			b.turn.Unlock()
		}
	}()
	<-filling
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	release, err := b.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := b.Hold(ctx); err == nil {
		t.Error("it was held twice")
	}
	release()
	close(stop)
	<-done
	if again, err := b.Hold(t.Context()); err != nil { // who gave up lets go, too
		t.Error(err)
	} else {
		again()
	}
}
