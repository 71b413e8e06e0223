package handoff

import (
	"context"
	"fmt"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Pace of harvesting. The window bounds what the server has queued: a socket's usual buffer holds some 160 small
// datagrams (net.core.rmem_default of 212992, 1280 bytes each). answerTime is how long a busy server may take, and
// attempts covers loss. A dead server costs three attempts for the first window and no more.
const (
	window     = 128
	answerTime = 250 * time.Millisecond
	attempts   = 3
	// lastAnswers is how long a stopped fill waits for answers in flight.
	lastAnswers = 20 * time.Millisecond
	// DefaultHarvestRate is how many questions per second a server is asked: a sixth of what DTLSv1_listen answers on
	// one CPU (8.7 us each, bench/README.md).
	DefaultHarvestRate = 20_000
)

// Entries on which the server is silent again and again are spared for longer than a NAT between guard and server keeps
// an unused mapping: nf_conntrack_udp_timeout_stream is 120 s. The mapping may lead to a server that is gone, and each
// question would keep it alive.
const (
	silentTimes = 3
	silentFor   = 130 * time.Second
)

// asker asks a server from the entries of a pool. It belongs to the harvester.
type asker struct {
	question  []byte // the ClientHello that asks for a cookie
	rate      float64
	window    int // questions in flight
	most      int // cookies that the server gives before it forgets a peer; 0: unlimited as far as known
	fruitless int // consecutive fills that brought nothing
	rounds    uint32
	silent    map[int]silence // entries without an answer
	asking    []asking
	idle      []int32 // indices of asking
	poller    *udpbatch.Poller
	batch     *udpbatch.Batch
	queue     *udpbatch.Queue
}

// silence counts the unanswered questions of an entry.
type silence struct {
	times int
	until time.Time
}

// asking is a question in flight.
type asking struct {
	conn  *udpbatch.Conn // nil: none
	entry int
	began time.Time
	sent  time.Time
	tries int
}

// keepWindow is the window of pools with sockets, whose servers do more work per question.
const keepWindow = 64

func newAsker(question []byte, keep bool) (a asker, err error) {
	a = asker{question: question, rate: DefaultHarvestRate, window: window, silent: make(map[int]silence), queue: udpbatch.NewQueue(1)}
	if keep {
		a.window = keepWindow
	}
	a.asking = make([]asking, window)
	for i := range a.asking {
		a.idle = append(a.idle, int32(i))
	}
	if a.poller, err = udpbatch.NewPoller(window); err != nil {
		return a, err
	}
	if a.batch, err = udpbatch.NewBatch(4); err != nil {
		_ = a.poller.Close()
	}
	return a, err
}

func (a *asker) close() {
	if a.batch != nil {
		a.batch.Close()
		_ = a.poller.Close()
	}
}

func poolError(i, n int, err error) error {
	return fmt.Errorf("socket %d of the harvest pool of %d (setting harvest-pool): %w", i+1, n, err)
}

// askAll asks from the given entries, a window at a time, at most at the configured rate. It stops when stop returns
// true, which it reports, and when a whole window got no answer.
func (p *Pool) askAll(ctx context.Context, list []int, stop func(*Pool) bool) (stopped bool) {
	began, asked, vain, checked := time.Now(), 0, 0, 0
	var end time.Time // of waiting for the last answers
	defer p.abandon()
	for ctx.Err() == nil {
		if !stopped && asked < len(list) && stop(p) {
			stopped, end = true, time.Now().Add(lastAnswers)
		}
		for now := time.Now(); !stopped && asked < len(list) && p.underWay() < p.window; asked++ {
			if float64(asked) > float64(p.window)+p.rate*now.Sub(began).Seconds() {
				break
			}
			p.begin(list[asked], now)
		}
		if p.underWay() == 0 && (stopped || asked == len(list)) || stopped && time.Now().After(end) {
			break
		}
		answered, silent := p.collect()
		if known := int(p.known.Load()); known >= checked+servesFrom {
			checked = known
			p.advance()
		}
		if vain += silent; answered > 0 {
			vain = 0
		}
		if silent > 0 && p.counts {
			p.window = 1 // openssl s_server without -listen handles one peer at a time and ignores the others
		}
		if vain >= min(p.window, len(list)) {
			break
		}
	}
	return stopped
}

// underWay is the number of unanswered questions.
func (a *asker) underWay() int { return len(a.asking) - len(a.idle) }

// begin asks from entry i, if nobody uses it and its port is free.
func (p *Pool) begin(i int, now time.Time) {
	var c *udpbatch.Conn
	if p.kept != nil {
		if !p.kept[i].Acquire() {
			return // a worker took it
		}
		c = p.kept[i].Conn
		p.drain(c)
	} else {
		if !p.free(i) {
			return
		}
		var err error
		if c, err = p.sources.dial(i, p.server); err != nil {
			p.wasSilent(i, now) // probably another program has the port
			return
		}
	}
	at := p.idle[len(p.idle)-1]
	if err := p.poller.Add(c.FD(), udpbatch.Event{A: at}); err != nil {
		p.giveBack(i, c)
		return
	}
	p.idle = p.idle[:len(p.idle)-1]
	p.asking[at] = asking{conn: c, entry: i, began: now}
	p.ask(&p.asking[at], now)
}

// ask sends the question, also repeatedly.
func (p *Pool) ask(a *asking, now time.Time) {
	a.sent, a.tries = now, a.tries+1
	p.queue.Add(p.next(), nil)
	_, _ = a.conn.Send(p.queue) // a refusal shows as a missing answer
}

// giveBack releases the socket of entry i.
func (p *Pool) giveBack(i int, c *udpbatch.Conn) {
	if p.kept != nil {
		p.kept[i].Release()
	} else {
		_ = c.Close()
	}
}

// end ends a question.
func (p *Pool) end(at int32) {
	a := &p.asking[at]
	p.poller.Remove(a.conn.FD())
	p.giveBack(a.entry, a.conn)
	a.conn = nil
	p.idle = append(p.idle, at)
}

// abandon ends all questions.
func (p *Pool) abandon() {
	for at := range p.asking {
		if p.asking[at].conn != nil {
			p.end(int32(at))
		}
	}
}

// collect waits briefly for answers, and repeats questions that got none in time. It returns the number of answers, and
// of entries on which the server stayed silent.
func (p *Pool) collect() (answered, silent int) {
	const tick = 5 // ms: also the granularity of the rate
	n, _, err := p.poller.Wait(tick)
	if err != nil {
		n = 0
	}
	for e := range n {
		at := p.poller.Event(e).A
		a := &p.asking[at]
		if a.conn != nil && p.answered(a) {
			p.leave(a)
			p.end(at)
			answered++
		}
	}
	now := time.Now()
	for at := range p.asking {
		a := &p.asking[at]
		switch {
		case a.conn == nil || now.Sub(a.sent) < answerTime:
		case a.tries < attempts:
			p.ask(a, now)
		default:
			p.wasSilent(a.entry, now)
			p.end(int32(at))
			silent++
		}
	}
	return answered, silent
}

// wasSilent counts an unanswered question of an entry.
func (p *Pool) wasSilent(i int, now time.Time) {
	s := p.silent[i]
	if s.times++; s.times >= silentTimes {
		s = silence{until: now.Add(silentFor)}
	}
	p.silent[i] = s
}

// release makes a server that keeps state per client forget c, so that asking leaves nothing there.
func (p *Pool) release(c *udpbatch.Conn) {
	if p.counts || p.pending {
		p.queue.Add(userCanceled, nil)
		_, _ = c.Send(p.queue)
	}
}

// answered reads the answer to a question and reports whether it was a cookie.
func (p *Pool) answered(a *asking) bool {
	p.batch.Reset()
	n, err := a.conn.Recv(p.batch)
	if err != nil {
		return false
	}
	for s := range n {
		c, ok := hello.HelloVerifyCookie(p.batch.Datagram(s))
		if ok && len(c) > 0 && len(c) <= hello.MaxCookie {
			if p.entries[a.entry].set(c) {
				p.known.Add(1)
			}
			if p.asked != nil {
				p.asked[a.entry] = a.began
			}
			delete(p.silent, a.entry)
			return true
		}
	}
	return false
}

// drain discards what an earlier flow left in a socket's buffer.
func (p *Pool) drain(c *udpbatch.Conn) {
	for n := 1; n > 0; {
		p.batch.Reset()
		n, _ = c.Recv(p.batch)
	}
}
