package lab

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Secrets change up to ten times per second, and no client fails: each rotation waits until a client of each address has done a
// handshake since the last one, so that no handshake spans two. Two would cost a client its cookie: it gets a second
// HelloVerifyRequest, and its third ClientHello has message_seq 2, but servers on OpenSSL's DTLSv1_listen wait for message_seq 1
// forever.
func TestRotation(t *testing.T) {
	const rotations = 50
	for name, s := range shapes {
		for _, answer := range []string{"workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				s.serve(t, p.Lab)
				g := p.run(append(s.args(), "--answer", answer)...)
				output(t, p.Middle, program(), "secret", "rotate", "--control", p.control)
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				defer running.Wait()
				defer cancel()
				var done [len(public)]atomic.Int64
				for i, to := range public {
					running.Go(func() {
						for ctx.Err() == nil {
							if err := handshake(t, p, to); err != nil {
								t.Errorf("client %d: %v", done[i].Load(), err)
								cancel()
								return
							}
							done[i].Add(1)
						}
					})
				}
				for range rotations {
					var before [len(done)]int64
					for i := range done {
						before[i] = done[i].Load()
					}
					time.Sleep(100 * time.Millisecond)
					g.Until("each address has served a client since the last rotation", func() bool {
						return ctx.Err() != nil || done[0].Load() > before[0] && done[1].Load() > before[1]
					})
					if ctx.Err() != nil {
						break
					}
					if _, err := frontend.Ask(t.Context(), p.control, "POST", "/rotate"); err != nil {
						t.Errorf("rotate: %v", err)
						break
					}
				}
				cancel()
				running.Wait()
				n := g.status().Secrets[0].Rotations
				if n <= rotations && !t.Failed() {
					t.Errorf("%d rotations, want more than %d", n, rotations)
				}
				t.Logf("%d and %d clients in %d rotations", done[0].Load(), done[1].Load(), n)
				g.stop()
			})
		}
	}
}

// handshake opens an association and ends it.
func handshake(t *testing.T, p *place, to netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dialPion(ctx, t, p.Lab, to)
	if err == nil {
		c.close()
	}
	return err
}
