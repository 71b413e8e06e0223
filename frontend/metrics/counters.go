package metrics

import (
	"math/bits"
	"sync/atomic"
)

// fillBuckets: batch sizes 1, 2, 3..4, 5..8, ... by the upper bound's binary logarithm; 1024 is the largest batch.
const fillBuckets = 11

// Direction is which way payload of datagrams goes.
type Direction uint8

// The directions.
const (
	FromClients Direction = iota
	ToClients             // answers, and what servers said
	FromServers
	ToServers
	DirectionLen
)

var directionNames = [DirectionLen]string{"from-clients", "to-clients", "from-servers", "to-servers"}

// String is the direction's label in metrics.
func (d Direction) String() string { return directionNames[d] }

// Counters are one worker's. Count and Filled belong to the worker; Snapshot may be called from anywhere.
type Counters struct {
	local  [EventLen]uint64
	bytes  [DirectionLen]uint64
	fill   [fillBuckets]uint64
	filled uint64
	over   uint64
	last   uint32 // the socket's own counter of overruns

	shared struct {
		events [EventLen]atomic.Uint64
		bytes  [DirectionLen]atomic.Uint64
		fill   [fillBuckets]atomic.Uint64
		filled atomic.Uint64
		over   atomic.Uint64
	}
}

// Count counts e.
func (c *Counters) Count(e Event) { c.local[e]++ }

// Add counts e n times.
func (c *Counters) Add(e Event, n int) { c.local[e] += uint64(n) }

// Strangers is how many datagrams came from clients that were of no flow. It belongs to the worker.
func (c *Counters) Strangers() uint64 { return c.filled - c.local[Relayed] }

// Bytes counts n bytes of UDP payload that go in direction d.
func (c *Counters) Bytes(d Direction, n int) { c.bytes[d] += uint64(n) }

// Snapshot is what a worker had counted at some time.
type Snapshot [EventLen]uint64

// Snapshot notes what was counted so far. It belongs to the worker.
func (c *Counters) Snapshot(s *Snapshot) { *s = c.local }

// Risen is the event of the client stage that was counted since s was taken: of one datagram there is one.
func (c *Counters) Risen(s *Snapshot) (e Event, ok bool) {
	for e := range EventLen {
		if c.local[e] != s[e] && Labels[e].Stage == clientStage {
			return e, true
		}
	}
	return 0, false
}

const clientStage = "client"

// Filled notes that a receive brought n datagrams, n > 0.
func (c *Counters) Filled(n int) {
	c.fill[min(bits.Len(uint(n-1)), fillBuckets-1)]++
	c.filled += uint64(n)
}

// Begin says that the socket's counter of overruns has counted so far what is known.
func (c *Counters) Begin(overruns uint32) { c.last = overruns }

// Overran notes the socket's counter of overruns, which wraps.
func (c *Counters) Overran(overruns uint32) {
	c.over += uint64(overruns - c.last)
	c.last = overruns
}

// Publish makes what was counted visible. Once per batch: a store costs more than all else here, so what did
// not change is left alone.
func (c *Counters) Publish() {
	for e, v := range c.local {
		if c.shared.events[e].Load() != v {
			c.shared.events[e].Store(v)
		}
	}
	for d, v := range c.bytes {
		if c.shared.bytes[d].Load() != v {
			c.shared.bytes[d].Store(v)
		}
	}
	for i, v := range c.fill {
		if c.shared.fill[i].Load() != v {
			c.shared.fill[i].Store(v)
		}
	}
	c.shared.filled.Store(c.filled)
	c.shared.over.Store(c.over)
}

// Totals is a sum of counters.
type Totals struct {
	Events   [EventLen]uint64
	Bytes    [DirectionLen]uint64
	Fill     [fillBuckets]uint64 // receives that brought up to 1, 2, 4, ... 1024 datagrams, not cumulative
	Received uint64
	Overruns uint64 // datagrams that the kernel dropped because a socket's buffer was full
}

// AddTo adds what was published to t.
func (c *Counters) AddTo(t *Totals) {
	for e := range c.shared.events {
		t.Events[e] += c.shared.events[e].Load()
	}
	for d := range c.shared.bytes {
		t.Bytes[d] += c.shared.bytes[d].Load()
	}
	for i := range c.shared.fill {
		t.Fill[i] += c.shared.fill[i].Load()
	}
	t.Received += c.shared.filled.Load()
	t.Overruns += c.shared.over.Load()
}

// Add adds o to t.
func (t *Totals) Add(o *Totals) {
	for e, n := range o.Events {
		t.Events[e] += n
	}
	for d, n := range o.Bytes {
		t.Bytes[d] += n
	}
	for i, n := range o.Fill {
		t.Fill[i] += n
	}
	t.Received += o.Received
	t.Overruns += o.Overruns
}

// Ended counts the flows that ended by how: "outcome" or "outcome/reason", without the zeros.
func (t *Totals) Ended() map[string]uint64 {
	m := make(map[string]uint64)
	for e, n := range t.Events {
		if l := Labels[e]; l.Stage == FlowStage && n > 0 {
			m[l.key()] += n
		}
	}
	return m
}

// Handshakes counts handshakes with back ends by outcome.
func (t *Totals) Handshakes() map[string]uint64 {
	m := make(map[string]uint64)
	for e, n := range t.Events {
		if l := Labels[e]; l.Stage == HandshakeStage {
			m[l.key()] += n
		}
	}
	return m
}

// key names an outcome within its stage.
func (l Label) key() string {
	if l.Reason == "" {
		return l.Outcome
	}
	return l.Outcome + "/" + l.Reason
}

// Packets groups the events as stage -> "outcome" or "outcome/reason" -> count, without the zeros.
func (t *Totals) Packets() map[string]map[string]uint64 {
	m := make(map[string]map[string]uint64)
	for e, n := range t.Events {
		l := Labels[e]
		if l.Stage == "" || l.Stage == FlowStage || l.Stage == HandshakeStage {
			continue
		}
		if m[l.Stage] == nil {
			m[l.Stage] = make(map[string]uint64)
		}
		if n == 0 {
			continue
		}
		m[l.Stage][l.key()] += n
	}
	return m
}
