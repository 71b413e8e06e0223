package relay

import (
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Idle times of the states that have no flag.
const (
	// openingIdle is how long a server may take to a verified ClientHello: RFC 6347 section 4.2.4.1 has the
	// client's timer start at 1 s and double, so 30 s sees five retransmissions.
	openingIdle = 30 * time.Second
	// closingIdle leaves time for the other side's close_notify and its retransmission.
	closingIdle = 10 * time.Second
)

// Quota bounds the flows of several tables together.
type Quota struct {
	max  int64
	used atomic.Int64
}

// NewQuota allows max flows.
func NewQuota(maxFlows int) *Quota { return &Quota{max: int64(maxFlows)} }

// Used is the number of flows at the moment.
func (q *Quota) Used() int { return int(q.used.Load()) }

// Table finds a worker's flows by client and by event.
type Table struct {
	quota  *Quota
	idle   [stateLen]int64
	byID   []*Flow
	spare  []int32
	byAddr map[udpbatch.Endpoint]*Flow
	lists  [stateLen]list
}

// NewTable makes an empty table whose flows count against quota and end after idle without a datagram.
func NewTable(quota *Quota, idle time.Duration) *Table {
	t := &Table{quota: quota, byAddr: make(map[udpbatch.Endpoint]*Flow)}
	t.idle = [stateLen]int64{Opening: int64(min(idle, openingIdle)), Established: int64(idle), Closing: int64(min(idle, closingIdle))}
	for i := range t.lists {
		t.lists[i].init()
	}
	return t
}

// Lookup finds the flow of a client, nil if it has none.
func (t *Table) Lookup(client udpbatch.Endpoint) *Flow { return t.byAddr[client] }

// At finds the flow that e was made by, nil if it has ended since.
func (t *Table) At(e udpbatch.Event) *Flow {
	if f := t.byID[e.A]; f.generation == e.B {
		return f
	}
	return nil
}

// Full reports whether a new flow needs an old one to go.
func (t *Table) Full() bool { return t.quota.used.Load() >= t.quota.max }

// Stalest is the flow to end when room is needed: one that is closing, else one that never got an answer,
// else the one that was silent longest. nil if the table is empty.
func (t *Table) Stalest() *Flow {
	for _, s := range [...]State{Closing, Opening, Established} {
		if f := t.lists[s].last(); f != nil {
			return f
		}
	}
	return nil
}

// Open starts a flow for the client at the other end of route, whose ClientHello h was verified, through port.
// The client must have none.
func (t *Table) Open(route *udpbatch.Route, port *Upstream, h *hello.ClientHello, now int64) *Flow {
	var f *Flow
	if n := len(t.spare); n > 0 {
		f = t.byID[t.spare[n-1]]
		t.spare = t.spare[:n-1]
	} else {
		f = &Flow{id: int32(len(t.byID))}
		t.byID = append(t.byID, f)
	}
	*f = Flow{
		Client: route.Peer(), Route: *route, Port: port, State: Opening, Born: now,
		id: f.id, generation: f.generation, used: now, Pending: [2]int32{-1, -1},
	}
	f.remember(h)
	t.byAddr[f.Client] = f
	t.lists[Opening].front(f)
	t.quota.used.Add(1)
	return f
}

// Close ends a flow and releases its port. f must not be used afterwards.
func (t *Table) Close(f *Flow) {
	delete(t.byAddr, f.Client)
	f.unlink()
	f.generation++ // events under way find nothing
	f.Port.Release()
	f.Port = nil
	t.spare = append(t.spare, f.id)
	t.quota.used.Add(-1)
}

// Touch notes that a datagram of f passed, and that it is now in state s.
func (t *Table) Touch(f *Flow, s State, now int64) {
	f.used, f.State = now, s
	f.unlink()
	t.lists[s].front(f)
}

// Expired is a flow whose idle time is over, nil if there is none.
func (t *Table) Expired(now int64) *Flow {
	for s := range t.lists {
		if f := t.lists[s].last(); f != nil && now-f.used > t.idle[s] {
			return f
		}
	}
	return nil
}

// Silent marks the flows born before the given time that the server said nothing to, and reports whether
// there was a new one.
func (t *Table) Silent(before int64) bool {
	found := false
	l := &t.lists[Opening]
	for f := l.head.prev; f != &l.head; f = f.prev {
		if f.Born < before && !f.noticed {
			f.noticed, found = true, true
		}
	}
	return found
}

// Len is the number of flows.
func (t *Table) Len() int { return len(t.byAddr) }
