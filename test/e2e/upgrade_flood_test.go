package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// TestUpgradeCookies: a cookie that a guard has issued is valid for its successor, also while a flood is being answered.
func TestUpgradeCookies(t *testing.T) {
	t.Parallel()
	for name, accepts := range map[string]cookies{"trust": anyCookie, "harvest": byAddress} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := runGuard(t, startBackend(t, anyPort, accepts).addr())
			if name == "trust" { // harvest would reserve every pool entry for the flood's sources
				stop := floodUntil(newFlood(t, g.addr))
				defer stop()
			}
			const rounds, clients = 3, 16
			for round := range rounds {
				var hellos [][]byte
				var from []*raw
				for n := range clients {
					b := hellotest.New()
					binary.BigEndian.PutUint64(b.Random[:], uint64(round*clients+n))
					r := dialRaw(t, fmt.Sprintf("127.0.1.%d:0", 1+n), g.addr)
					first := b.Bytes()
					eventually(t, "a cookie is issued", func() bool { // the flood may overrun the socket
						r.send(first)
						cookie, ok := hello.HelloVerifyCookie(r.receive(time.Second))
						if ok {
							hellos, from = append(hellos, second(b, cookie)), append(from, r)
						}
						return ok
					})
				}
				g.upgrade()
				for n, r := range from {
					eventually(t, "the cookie is accepted", func() bool {
						r.send(hellos[n])
						return bytes.Equal(r.receive(time.Second), serverHello)
					})
				}
			}
		})
	}
}

// floodUntil floods the guard until the returned function is called.
func floodUntil(f *flood) (stop func()) {
	end := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				for range 32 {
					_, _ = f.sources[f.random.IntN(len(f.sources))].WriteToUDP(f.next(), f.to)
				}
			}
		}
	})
	return func() { close(end); running.Wait() }
}
