package sockets

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
)

// Config of a Flood.
type Config struct {
	// Flow has the target and the sources. Without an Interface it uses sockets on loopback: the default sources are
	// [Loopback4] or [Loopback6], and the kernel chooses the ports if none are given.
	Flow  traffic.Flow
	Mix   traffic.Mix // nil: that of Marked
	Pace  traffic.Pace
	Batch int // datagrams per batch, at most MaxBatch; 0: 64
}

const (
	// batch is large enough: a larger one gains nothing, because the cost per datagram is the kernel's.
	batch = 64
	// MaxBatch fits the default send buffer of a socket, 208 KiB.
	MaxBatch = 256
	// receiveBuffer holds some 5000 answers while the sender is off its CPU.
	receiveBuffer = 4 << 20
	// linger is how long after the last datagram answers still count: a guard answers what its buffers hold within 25
	// ms, and the scheduler may add a few slices.
	linger = 200 * time.Millisecond
	// tick is how long a flood that is ahead of its rate sleeps: the precision of the kernel's timers.
	tick = 1 // ms
)

// Counts of a flood. Right + Wrong is everything that came back.
type Counts struct {
	Sent      uint64                  // datagrams that the kernel accepted
	Questions uint64                  // those of them that require an answer; an estimate if there are Unsent
	Unsent    uint64                  // datagrams that the kernel did not accept
	Right     uint64                  // HelloVerifyRequests without a fault
	Wrong     uint64                  // anything else that came back
	Faults    [answer.FaultLen]uint64 // Wrong by fault
	Elapsed   time.Duration           // time of sending
}

// Flood is a generator.
type Flood struct {
	carrier  carrier
	mix      traffic.Mix
	pace     traffic.Pace
	batch    int
	random   *rand.PCG
	datagram []byte             // under construction
	from     netip.AddrPort     // its source
	rest     []traffic.Template // fragments that the same source has still to send

	sent, questions, unsent atomic.Uint64
	answers                 [answer.FaultLen]atomic.Uint64 // by fault
	elapsed                 atomic.Int64
}

// complete fills in the defaults.
func (c *Config) complete() {
	to := c.Flow.Destination
	c.Flow.Destination = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if c.Mix == nil {
		c.Mix = Marked()
	}
	if c.Batch == 0 {
		c.Batch = batch
	}
	if c.Flow.Sources == (netip.Prefix{}) && c.Flow.Interface == nil {
		c.Flow.Sources = loopback(to.Addr().Unmap())
	}
}

// Check returns the first mistake in c.
func (c Config) Check() error {
	c.complete()
	if err := c.Mix.Check(); err != nil {
		return err
	}
	if c.Batch < 1 || c.Batch > MaxBatch {
		return fmt.Errorf("batches of %d: want 1 to %d", c.Batch, MaxBatch)
	}
	if c.Flow.Interface == nil {
		return checkLoopback(&c.Flow)
	}
	return c.Flow.Check()
}

// New opens a flood's sockets and sends nothing yet. Errors name the mistake in the flow, or the missing privilege
// (os.ErrPermission).
func New(c Config) (*Flood, error) {
	c.complete()
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("flood: %w", err)
	}
	f := &Flood{mix: c.Mix, pace: c.Pace, batch: c.Batch, random: rand.NewPCG(rand.Uint64(), rand.Uint64())}
	var err error
	if c.Flow.Interface == nil {
		f.carrier, err = openSockets(c.Flow, c.Batch)
	} else {
		f.carrier, err = openFrames(c.Flow, c.Batch)
	}
	if err != nil {
		return nil, fmt.Errorf("flood: %w", err)
	}
	return f, nil
}

// Close closes the sockets, after Run has returned.
func (f *Flood) Close() error { return f.carrier.close() }

// Counts returns a snapshot.
func (f *Flood) Counts() Counts {
	c := Counts{
		Sent: f.sent.Load(), Questions: f.questions.Load(), Unsent: f.unsent.Load(), Right: f.answers[answer.None].Load(),
		Elapsed: time.Duration(f.elapsed.Load()),
	}
	for fault := answer.None + 1; fault < answer.FaultLen; fault++ {
		c.Faults[fault] = f.answers[fault].Load()
		c.Wrong += c.Faults[fault]
	}
	if all := c.Sent + c.Unsent; c.Unsent != 0 { // it is unknown which of them the kernel did not accept
		c.Questions = uint64(float64(c.Questions) * float64(c.Sent) / float64(all))
	}
	return c
}

// Run sends until ctx ends or the limit is reached, then waits briefly for the last answers.
func (f *Flood) Run(ctx context.Context) error {
	var err error
	began := time.Now()
	for ctx.Err() == nil && err == nil && !f.over() {
		elapsed := time.Since(began)
		f.elapsed.Store(int64(elapsed))
		n := f.due(elapsed)
		f.send(n)
		f.carrier.receive(f.check)
		if n < f.batch {
			err = f.carrier.wait(tick)
		}
	}
	f.elapsed.Store(int64(time.Since(began)))
	for end := time.Now().Add(linger); err == nil && time.Now().Before(end); err = f.carrier.wait(tick) {
		f.carrier.receive(f.check)
	}
	return err
}

func (f *Flood) over() bool { return f.pace.Limit != 0 && f.sent.Load() >= f.pace.Limit }

// due is the number of datagrams to send now, at most a batch.
func (f *Flood) due(elapsed time.Duration) int {
	n := uint64(f.batch)
	if f.pace.Rate > 0 {
		done := f.sent.Load() + f.unsent.Load()
		n = min(n, max(done, uint64(elapsed.Seconds()*f.pace.Rate))-done)
	}
	if f.pace.Limit != 0 {
		n = min(n, f.pace.Limit-f.sent.Load())
	}
	return int(n)
}

func (f *Flood) send(n int) {
	var questions uint64
	for range n {
		if len(f.rest) == 0 {
			f.from = f.carrier.source(f.random.Uint64())
			f.rest = f.mix.Of(f.from).Templates
		}
		t := &f.rest[0]
		f.rest = f.rest[1:]
		f.datagram = t.Append(f.datagram[:0], f.from)
		f.carrier.add(f.from, f.datagram)
		if t.Question {
			questions++
		}
	}
	sent := f.carrier.flush() // a full kernel buffer is part of a flood: unsent datagrams are counted
	f.sent.Add(uint64(sent))
	f.unsent.Add(uint64(n - sent))
	f.questions.Add(questions)
}

// check counts an answer.
func (f *Flood) check(source netip.AddrPort, d []byte) { f.answers[f.fault(source, d)].Add(1) }

// fault returns the fault of d as the answer to source.
func (f *Flood) fault(source netip.AddrPort, d []byte) answer.Fault {
	t := &f.mix.Of(source).Templates[0] // only first datagrams are questions
	if !t.Question {
		return answer.Kind
	}
	_, fault := answer.Check(d, answer.Question{
		Length: len(t.Bytes), RecordSeq: uint64(traffic.Sequence(source)), MessageSeq: uint16(t.Bytes[traffic.MessageSeqAt+1]),
	})
	return fault
}
