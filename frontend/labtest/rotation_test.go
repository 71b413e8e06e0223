package labtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Secrets change ten times a second, and no client that comes meanwhile fails.
func TestRotation(t *testing.T) {
	for name, s := range shapes {
		for _, answer := range []string{"workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				s.serve(t, p.Lab)
				g := p.run(append(s.args(), "--answer", answer)...)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var running sync.WaitGroup
				var mu sync.Mutex
				done := 0
				for _, to := range public {
					running.Go(func() {
						for ctx.Err() == nil {
							deadline, cancel := context.WithTimeout(t.Context(), patience)
							c, err := dialPion(deadline, t, p.Lab, to)
							cancel()
							if err != nil {
								t.Errorf("client %d: %v", done, err)
								return
							}
							c.close()
							mu.Lock()
							done++
							mu.Unlock()
						}
					})
				}
				rotate(ctx, t, p)
				running.Wait()
				// The rotations themselves take time, on a busy machine: half of them is still five a second.
				if n := g.status().Secret.Rotations; n < 50 || done < 100 {
					t.Errorf("%d clients in %d rotations: too few to tell", done, n)
				} else {
					t.Logf("%d clients in %d rotations", done, n)
				}
				g.stop()
			})
		}
	}
}

// rotate draws a new secret every 100 ms until ctx ends.
func rotate(ctx context.Context, t *testing.T, p *place) {
	t.Helper()
	output(t, p.Guard, program(), "secret", "rotate", "--control", p.control)
	for ticker := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return
		case <-ticker.C:
		}
		if _, err := frontend.Ask(t.Context(), p.control, "POST", "/rotate"); err != nil {
			t.Errorf("rotate: %v", err)
			return
		}
	}
}
