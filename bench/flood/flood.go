package flood

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Config of a Flood.
type Config struct {
	Target netip.AddrPort // in 127.0.0.0/8
	Rate   int            // datagrams a second; 0: as fast as they go
	Kinds  []Kind         // sent in turn; nil: FirstHello alone
	Ports  int            // source ports; 0: DefaultPorts
}

const (
	// DefaultPorts is enough for all workers of a guard to get a share, whatever the kernel hashes.
	DefaultPorts = 8
	// batch is what one system call sends: more gains nothing, as the cost per datagram is the kernel's.
	batch = 64
	// receiveBuffer holds some 5000 answers for the time that the sender is kept off its CPU.
	receiveBuffer = 4 << 20
	// linger is how long after the last datagram answers still count: what a guard's buffers hold it answers
	// within some 25 ms, and the scheduler may take a few of its slices on top.
	linger = 200 * time.Millisecond
)

// Counts of a flood. Right + Wrong is all that came back.
type Counts struct {
	Sent    uint64        // datagrams that the kernel took
	Unsent  uint64        // those it did not take
	Right   uint64        // HelloVerifyRequests that answer a ClientHello of ours as they must
	Wrong   uint64        // anything else that came back
	Elapsed time.Duration // time of sending
}

// Flood is a generator.
type Flood struct {
	target udpbatch.Endpoint
	rate   int
	conns  []*udpbatch.Conn
	slots  []slot // at least a batch, so that none is in the queue twice
	next   int    // slot to use
	queue  *udpbatch.Queue
	in     *udpbatch.Batch
	random *rand.PCG
	key    uint64
	// lengths of the questions, by their message_seq.
	lengths [2]int

	sent, unsent, right, wrong atomic.Uint64
	elapsed                    atomic.Int64
}

// New opens a flood's sockets; nothing is sent yet.
func New(c Config) (*Flood, error) {
	if a := c.Target.Addr().Unmap(); !a.Is4() || !a.IsLoopback() || c.Target.Port() == 0 {
		return nil, fmt.Errorf("flood %v: want an address and port in 127.0.0.0/8, where the sources are from", c.Target)
	}
	if c.Ports == 0 {
		c.Ports = DefaultPorts
	}
	if len(c.Kinds) == 0 {
		c.Kinds = []Kind{FirstHello}
	}
	route := udpbatch.NewRoute(c.Target)
	f := &Flood{
		target: route.Peer(), rate: c.Rate, queue: udpbatch.NewQueue(batch),
		random: rand.NewPCG(rand.Uint64(), rand.Uint64()), key: rand.Uint64(),
		lengths: [2]int{len(template(FirstHello)), len(template(WrongCookie))},
	}
	for len(f.slots) < batch { // whole rounds of the kinds
		for _, k := range c.Kinds {
			if k >= kindLen {
				return nil, fmt.Errorf("flood: there is no kind %d of datagram", k)
			}
			f.slots = append(f.slots, newSlot(k, c.Target))
		}
	}
	var err error
	if f.in, err = udpbatch.NewBatch(batch); err != nil {
		return nil, err
	}
	for range c.Ports {
		conn, err := udpbatch.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), udpbatch.Options{ReceiveBuffer: receiveBuffer})
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.conns = append(f.conns, conn)
	}
	return f, nil
}

// Close gives the sockets back, after Run has returned.
func (f *Flood) Close() error {
	for _, c := range f.conns {
		c.Close()
	}
	return f.in.Close()
}

// Counts is a snapshot.
func (f *Flood) Counts() Counts {
	return Counts{
		Sent: f.sent.Load(), Unsent: f.unsent.Load(), Right: f.right.Load(), Wrong: f.wrong.Load(),
		Elapsed: time.Duration(f.elapsed.Load()),
	}
}

// Run sends until ctx ends, then waits a little for the last answers.
func (f *Flood) Run(ctx context.Context) {
	began := time.Now()
	// tick is how long a flood that is ahead of its rate rests: the least that timers keep to.
	const tick = time.Millisecond
	for turn := 0; ctx.Err() == nil; {
		elapsed := time.Since(began)
		f.elapsed.Store(int64(elapsed))
		n := f.due(elapsed)
		if n > 0 {
			f.send(f.conns[turn%len(f.conns)], n)
			turn++
		}
		f.receive()
		if n < batch {
			time.Sleep(tick)
		}
	}
	f.elapsed.Store(int64(time.Since(began)))
	for end := time.Now().Add(linger); time.Now().Before(end); time.Sleep(tick) {
		f.receive()
	}
}

// due is how many datagrams to send now, a batch at most.
func (f *Flood) due(elapsed time.Duration) int {
	if f.rate <= 0 {
		return batch
	}
	ahead := int64(elapsed.Seconds()*float64(f.rate)) - int64(f.sent.Load()+f.unsent.Load())
	return int(max(0, min(batch, ahead)))
}

func (f *Flood) send(c *udpbatch.Conn, n int) {
	for range n {
		s := &f.slots[f.next]
		f.next = (f.next + 1) % len(f.slots)
		s.refresh(f.random, f.key)
		f.queue.Add(s.d, &s.route)
	}
	sent, _ := c.Send(f.queue) // the kernel is short of buffers: part of being a flood, and counted
	f.sent.Add(uint64(sent))
	f.unsent.Add(uint64(n - sent))
}

// receive counts what has come back.
func (f *Flood) receive() {
	for _, c := range f.conns {
		for more := true; more; {
			f.in.Reset()
			n, err := c.Recv(f.in)
			f.check()
			more = err == nil && n == f.in.Cap()
		}
	}
}

func (f *Flood) check() {
	var right uint64
	for i := range f.in.Len() {
		if f.answers(f.in.Route(i), f.in.Datagram(i)) {
			right++
		}
	}
	f.right.Add(right)
	f.wrong.Add(uint64(f.in.Len()) - right)
}

// answers reports whether d, which came along r, is from the target and what it must be.
func (f *Flood) answers(r *udpbatch.Route, d []byte) bool {
	local, ok := r.Local()
	return ok && r.Peer() == f.target && right(d, binary.BigEndian.Uint32(local[12:]), f.key, &f.lengths)
}
