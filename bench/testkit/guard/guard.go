// Package guard runs a guard in the process of a test.
package guard

import (
	"context"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Run runs s until stop is called or the test ends, whichever is first, and fails the test if s fails. stop waits until s has
// ended.
func Run(t *testing.T, s *frontend.Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("guard: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
