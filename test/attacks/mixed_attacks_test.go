package attacks

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// hosts runs two hosts that prove their addresses and begin handshakes, at the default of --hello-rate.
func (b *mixedRun) hosts(ctx context.Context) {
	every := time.NewTicker(time.Second / 40)
	defer every.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		<-every.C
		if b.abandon(source(50 + i%2)) {
			b.abandoned.Add(1)
		}
	}
}

// abandon does the cookie exchange and makes the server begin a handshake that is never finished.
func (b *mixedRun) abandon(from netip.Addr) (begun bool) {
	c := (&guard{t: b.t, addr: b.to}).dial(from)
	defer c.end()
	q := hello.Probe{} // servers accept it
	for i := 0; i < len(q.Random); i += 8 {
		binary.NativeEndian.PutUint64(q.Random[i:], rand.Uint64())
	}
	c.ask(q.Append(nil), time.Second, func(d []byte) bool {
		k, ok := hello.HelloVerifyCookie(d)
		if ok {
			q.Cookie, q.MessageSeq, q.RecordSeq = bytes.Clone(k), 1, 1
			c.send(q.Append(nil))
			begun = true
		}
		return ok
	})
	return begun
}

// forgers sends alerts and guesses from the clients' addresses and ports.
func (b *mixedRun) forgers(ctx context.Context, cookies [][]byte) {
	kind, random := guesses(cookies), rand.NewPCG(rand.Uint64(), rand.Uint64())
	guess := slices.Clone(kind.bytes)
	for ctx.Err() == nil {
		for _, s := range slices.Concat(b.silent, b.busy) {
			s.forge(forgedAlert)
			b.alerts.Add(1)
			kind.vary(guess, 0, random)
			s.forge(guess)
			b.stolen.Add(1)
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// sweeps sends alerts from all ports of the clients' addresses.
func (b *mixedRun) sweeps(ctx context.Context) {
	for b.everyPort && ctx.Err() == nil {
		next := time.Now().Add(b.sweep)
		for i := range 16 {
			n, err := alertAll(ctx, source(i), b.to)
			if b.alerts.Add(uint64(n)); err != nil {
				b.t.Error(err)
				return
			}
		}
		pause(ctx, time.Until(next))
	}
}

// converse has each busy session send a record every second.
func (b *mixedRun) converse(ctx context.Context) {
	for ctx.Err() == nil {
		if n := survivors(b.busy); n < len(b.busy) {
			b.dead.Add(uint64(len(b.busy) - n))
		}
		pause(ctx, time.Second)
	}
}

// newcomers starts new clients at many addresses; each sends a record and closes. Of two at the same time that are mapped to the same
// socket one must start over.
func (b *mixedRun) newcomers(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	every := time.NewTicker(time.Second / time.Duration(b.clients))
	defer every.Stop()
	for ctx.Err() == nil {
		<-every.C
		from := source(300 + rand.IntN(500))
		all.Go(func() {
			b.tried.Add(1)
			s, err := connectDTLS(from, b.to, patience/3)
			if err != nil && b.guarded {
				s, err = connectDTLS(from, b.to, patience)
			}
			switch {
			case err != nil:
				b.lose(err.Error())
				return
			case !s.alive(patience):
				b.lose("no echo")
			}
			s.end()
		})
	}
}

// lose counts a new client that was not served, by reason.
func (b *mixedRun) lose(why string) {
	b.lost.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.why[why]++
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
