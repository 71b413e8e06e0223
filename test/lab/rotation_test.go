package lab

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Secrets change ten times per second, and no client fails. A client delayed by two
// rotations between its ClientHellos gets a second HelloVerifyRequest; its third ClientHello has message_seq 2,
// and servers on OpenSSL's DTLSv1_listen wait for message_seq 1 forever. So a few may have to start anew.
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
				done, anew := 0, 0
				for _, to := range public {
					running.Go(func() {
						for ctx.Err() == nil {
							again, err := insist(t, p, to)
							mu.Lock()
							done++
							if again {
								anew++
							}
							mu.Unlock()
							if err != nil {
								t.Errorf("client %d: %v", done, err)
								return
							}
						}
					})
				}
				rotate(ctx, t, p)
				running.Wait()
				// Rotations themselves take time on a busy machine: half of them is still five per second.
				if n := g.status().Secrets[0].Rotations; n < 50 || done < 100 {
					t.Errorf("%d clients in %d rotations: too few to tell", done, n)
				}
				if anew > done/100 {
					t.Errorf("%d of %d clients had to start anew", anew, done)
				}
				t.Logf("%d clients in %d rotations, %d had to start anew", done, g.status().Secrets[0].Rotations, anew)
				g.stop()
			})
		}
	}
}

// insist opens an association, and reports whether it needed a second attempt.
func insist(t *testing.T, p *place, to netip.AddrPort) (again bool, err error) {
	for _, again = range []bool{false, true} {
		// After the retransmissions of 1 and 2 s.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		var c *pionClient
		c, err = dialPion(ctx, t, p.Lab, to)
		cancel()
		if err == nil {
			c.close()
			return again, nil
		}
	}
	return again, err
}

// rotate rotates the secret every 100 ms until ctx ends.
func rotate(ctx context.Context, t *testing.T, p *place) {
	t.Helper()
	output(t, p.Middle, program(), "secret", "rotate", "--control", p.control)
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
