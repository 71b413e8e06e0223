package handoff

import (
	"context"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Pace of harvesting: window bounds what the server gets at once, answerTime is how long an answer may take
// on a server that is busy, and attempts what loss may do. A server that answers 50 000 a second fills a pool
// of 4096 in a tenth of a second; a dead one costs three attempts for the first window and no more.
const (
	window     = 64
	answerTime = 250 * time.Millisecond
	attempts   = 3
)

// askAll asks from ports by number, a window at a time. It stops at the first that gets no answer at all.
func (p *Pool) askAll(ctx context.Context, missing []int) {
	for len(missing) > 0 && ctx.Err() == nil {
		n := min(p.window, len(missing))
		got := p.ask(missing[:n])
		if got == 0 {
			return
		}
		if got < n && p.counts.Load() {
			p.window = 1 // openssl s_server without -listen keeps one at a time: whoever asks meanwhile is not heard
		}
		missing = missing[n:]
	}
}

// ask harvests a window of ports and returns how many answered.
func (p *Pool) ask(which []int) (got int) {
	waiting := make(map[int32]bool, len(which))
	for _, i := range which {
		if !p.ports[i].Acquire() {
			got++ // a worker took it: nothing to wait for, and no sign of a dead server
			continue
		}
		defer p.ports[i].Release()
		p.drain(i)
		if p.poller.Add(p.ports[i].FD(), udpbatch.Event{A: int32(i)}) == nil {
			defer p.poller.Remove(p.ports[i].FD())
			waiting[int32(i)] = true
		}
	}
	for range attempts {
		question, now := p.next(), time.Now()
		for i := range waiting {
			p.queue.Add(question, nil)
			_, _ = p.ports[i].Send(p.queue) // a refusal shows as no answer
		}
		for end := time.Now().Add(answerTime); len(waiting) > 0; {
			left := time.Until(end).Milliseconds()
			if left <= 0 {
				break
			}
			n, _, err := p.poller.Wait(int(left))
			if err != nil || n == 0 {
				break
			}
			for e := range n {
				if i := p.poller.Event(e).A; p.answered(int(i)) {
					p.asked[i] = now
					p.leave(int(i))
					p.poller.Remove(p.ports[i].FD())
					delete(waiting, i)
					got++
				}
			}
		}
	}
	return got
}

// release has a server that keeps who asks forget c, so that asking leaves nothing there.
func (p *Pool) release(c *udpbatch.Conn) {
	if p.counts.Load() || p.held.Load() {
		p.queue.Add(goodbye, nil)
		_, _ = c.Send(p.queue)
	}
}

// answered reads port i and reports whether its cookie came.
func (p *Pool) answered(i int) bool {
	p.batch.Reset()
	n, err := p.ports[i].Recv(p.batch)
	if err != nil {
		return false
	}
	for s := range n {
		c, ok := hello.HelloVerifyCookie(p.batch.Datagram(s))
		if ok && len(c) > 0 && len(c) <= hello.MaxCookie {
			if p.slots[i].set(c) {
				p.known.Add(1)
			}
			return true
		}
	}
	return false
}

// drain throws away what an earlier flow left in port i's buffer.
func (p *Pool) drain(i int) {
	for n := 1; n > 0; {
		p.batch.Reset()
		n, _ = p.ports[i].Recv(p.batch)
	}
}
