package relay

import (
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Table finds a worker's flows by client and by event.
type Table struct {
	budget   *Budget
	room     *Quota
	timeouts Timeouts
	byID     []*Flow
	spare    []int32
	byAddr   map[udpbatch.Endpoint]*Flow // the older one of two
	halfOpen [ranks]list
	lists    [stateLen]list // the other states, least recently used last
	counts   [stateLen]atomic.Int64
}

// NewTable makes an empty table. Its flows count against budget, which tables share, and against room, the upstream
// sockets of its service.
func NewTable(budget *Budget, room *Quota, timeouts Timeouts) *Table {
	t := &Table{budget: budget, room: room, timeouts: timeouts, byAddr: make(map[udpbatch.Endpoint]*Flow)}
	for i := range t.halfOpen {
		t.halfOpen[i].init()
	}
	for i := range t.lists {
		t.lists[i].init()
	}
	return t
}

// SetIdle changes how long a flow may be silent, of flows that there are, too.
func (t *Table) SetIdle(idle time.Duration) { t.timeouts.Idle = idle }

// Lookup finds the flow of a client, nil if it has none: the older one, if it has two.
func (t *Table) Lookup(client udpbatch.Endpoint) *Flow { return t.byAddr[client] }

// At finds the flow of event e, nil if it has ended since.
func (t *Table) At(e udpbatch.Event) *Flow {
	if f := t.byID[e.A]; f.generation == e.B {
		return f
	}
	return nil
}

// Victim returns the flow to end when room is needed: half-open, the oldest of those whose source has most; else closing;
// else idle, the one silent for longest. nil if there is none: a new client ends no established flow in use.
func (t *Table) Victim() *Flow {
	for i := ranks - 1; i >= 0; i-- {
		if f := t.halfOpen[i].last(); f != nil {
			return f
		}
	}
	for _, s := range [...]State{Over, Closing, Idle} {
		if f := t.lists[s].last(); f != nil {
			return f
		}
	}
	return nil
}

// Reserve counts a flow of a client at ip, for Open, or returns the reason against it.
func (t *Table) Reserve(ip *[16]byte) (rank int, r Reason) {
	return t.budget.enter(ip, t.room, t.Count(HalfOpen))
}

// Return undoes Reserve.
func (t *Table) Return(ip *[16]byte) { t.budget.leave(ip, t.room, true) }

// Open starts a flow of the reserved rank, for the client at the other end of route, whose ClientHello h was verified,
// through port. If the client has a flow, which must have no rival, the new one becomes its rival.
func (t *Table) Open(route *udpbatch.Route, port *Upstream, h *hello.ClientHello, rank int, now int64) *Flow {
	var f *Flow
	if n := len(t.spare); n > 0 {
		f = t.byID[t.spare[n-1]]
		t.spare = t.spare[:n-1]
	} else {
		f = &Flow{id: int32(len(t.byID))}
		t.byID = append(t.byID, f)
	}
	*f = Flow{
		Client: route.Peer(), Route: *route, Upstream: port, State: HalfOpen, Born: now, rank: uint8(rank), Handshaking: true,
		id: f.id, generation: f.generation, used: now, Pending: [2]int32{-1, -1},
	}
	f.remember(h)
	if old := t.byAddr[f.Client]; old != nil {
		f.older, old.rival = old, f
	} else {
		t.byAddr[f.Client] = f
	}
	t.counts[HalfOpen].Add(1)
	t.list(f).front(f)
	return f
}

// Close ends a flow and releases its port. f must not be used afterwards. Its rival, if there is one, becomes the
// client's flow.
func (t *Table) Close(f *Flow) {
	switch {
	case f.older != nil:
		f.older.rival = nil
	case f.rival != nil:
		f.rival.older = nil
		t.byAddr[f.Client] = f.rival
	default:
		delete(t.byAddr, f.Client)
	}
	f.older, f.rival = nil, nil
	f.unlink()
	f.generation++ // events in flight find nothing
	f.Upstream.Release()
	f.Upstream = nil
	t.spare = append(t.spare, f.id)
	t.counts[f.State].Add(-1)
	t.budget.leave(&f.Client.IP, t.room, f.State == HalfOpen)
}

// FromClient records that datagram d of f's client goes to f's server.
func (t *Table) FromClient(f *Flow, d []byte, now int64) {
	switch {
	case f.State == HalfOpen:
		t.step(f, clientSigns(d), now)
	case f.rival == nil: // else d may be the rival's, and f ends when its server is silent too
		t.use(f, now)
	}
}

// FromServer records that datagram d of f's server goes to f's client.
func (t *Table) FromServer(f *Flow, d []byte, now int64) {
	if f.progress&(proved|unproved) == proved && f.State != Closing && len(d) > 0 && d[0] != typeAlert {
		t.use(f, now)
		return
	}
	t.step(f, serverSigns(d), now)
}

// KeepAlive records a message of f's handshake that changes nothing.
func (t *Table) KeepAlive(f *Flow, now int64) {
	f.used = now
	t.move(f, f.State)
}

// use records that a datagram of f, which is not half-open, passed.
func (t *Table) use(f *Flow, now int64) {
	f.used = now
	s := f.State
	if s == Idle {
		s = Established
	}
	t.move(f, s)
}

func (t *Table) step(f *Flow, signs Signs, now int64) {
	s, p := step(f.State, f.progress, signs)
	f.progress = p
	if s != HalfOpen || signs&^ClientAlert != 0 {
		f.used = now
		t.move(f, s)
	}
}

// move makes f the most recently used flow of state s.
func (t *Table) move(f *Flow, s State) {
	if f.State != s {
		t.counts[f.State].Add(-1)
		t.counts[s].Add(1)
		if f.State == HalfOpen {
			t.budget.finish(&f.Client.IP, t.room)
		}
	}
	f.unlink()
	f.State = s
	t.list(f).front(f)
}

func (t *Table) list(f *Flow) *list {
	if f.State == HalfOpen {
		return &t.halfOpen[f.rank]
	}
	return &t.lists[f.State]
}

// Any returns some flow, nil if the table is empty.
func (t *Table) Any() *Flow {
	if f := t.Victim(); f != nil {
		return f
	}
	return t.lists[Established].last()
}

// Len is the number of clients that have a flow.
func (t *Table) Len() int { return len(t.byAddr) }

// Count is the number of flows in a state. It is safe for concurrent use.
func (t *Table) Count(s State) int { return int(t.counts[s].Load()) }

// Page calls yield, which may Close it, for each flow among n positions from the given one on, and returns the next
// position; done: there are no more. A flow keeps its position for as long as it lives.
func (t *Table) Page(from, n int, yield func(*Flow)) (next int, done bool) {
	next = min(from+n, len(t.byID))
	for i := from; i < next; i++ {
		if f := t.byID[i]; f.Upstream != nil {
			yield(f)
		}
	}
	return next, next == len(t.byID)
}

// UsedSince calls yield for each established flow that was used since the given time.
func (t *Table) UsedSince(since int64, yield func(*Flow)) {
	l := &t.lists[Established]
	for f := l.head.next; f != &l.head && f.used >= since; f = f.next {
		yield(f)
	}
}
