package relay

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Record is a flow as another process can take it over: of fixed size, for encoding/binary. Times are of CLOCK_MONOTONIC.
type Record struct {
	Route                                     udpbatch.RouteRecord
	State, Progress, Rank                     uint8
	SilenceReported, Handshaking, ClientSpoke bool
	Born, Used, Confirmed                     int64
	ToServer, ToClient                        Traffic
	Random                                    [32]byte
	Cookie                                    [hello.MaxRetryCookie]byte
	CookieLength                              uint8
	Worker, Back                              int32 // numbers of its worker and of its back end, the owner's
	File                                      int32 // of its socket; -1: that of its entry
	Entry                                     int32 // of the back end's pool; -1: none
	PreHandshake                              int32 // the owner's number; -1: none
	Older                                     int32 // the record of the same client's older flow, which comes before; -1: none
}

// Each calls yield for each flow: those that were used last come last, and a flow before its rival.
func (t *Table) Each(yield func(*Flow)) {
	var all []*Flow
	for _, f := range t.byID {
		if f.Upstream != nil {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *Flow) int {
		if c := cmp.Compare(btoi(a.older != nil), btoi(b.older != nil)); c != 0 {
			return c
		}
		return cmp.Compare(a.used, b.used)
	})
	for _, f := range all {
		yield(f)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Older is the flow that f is the rival of; nil if it is none.
func (f *Flow) Older() *Flow { return f.older }

// Record is what another process needs to know of f; numbers are left to the owner.
func (f *Flow) Record() Record {
	r := Record{
		Route: f.Route.Record(), State: uint8(f.State), Progress: uint8(f.progress), Rank: f.rank, SilenceReported: f.silenceReported, Handshaking: f.Handshaking, ClientSpoke: f.ClientSpoke,
		Born: f.Born, Used: f.used, ToServer: f.ToServer, ToClient: f.ToClient, Confirmed: f.Confirmed, Random: f.random, CookieLength: f.length, PreHandshake: -1, Older: -1,
	}
	copy(r.Cookie[:], f.cookie[:])
	return r
}

// errRecord says that a record is of no flow.
var errRecord = errors.New("the record of a flow makes no sense")

// Adopt continues a flow of another process through port. Limits do not count: it is there. older is the flow of the same
// client that it is to replace, nil if there is none. A flow that the server has refused is taken over, too: the next sweep ends it.
func (t *Table) Adopt(r *Record, port *Upstream, older *Flow) (*Flow, error) {
	if State(r.State) >= stateLen || r.Rank >= ranks || int(r.CookieLength) > len(r.Cookie) {
		return nil, errRecord
	}
	f := &Flow{
		Route: udpbatch.RouteOf(&r.Route), Upstream: port, State: State(r.State), Born: r.Born, progress: progress(r.Progress), rank: r.Rank,
		silenceReported: r.SilenceReported, Handshaking: r.Handshaking, ClientSpoke: r.ClientSpoke, Confirmed: r.Confirmed, ToServer: r.ToServer, ToClient: r.ToClient, random: r.Random, cookie: r.Cookie, length: r.CookieLength,
		id: int32(len(t.byID)), used: r.Used, Pending: [2]int32{-1, -1},
	}
	f.Client = f.Route.Peer()
	if now := t.byAddr[f.Client]; now != older || now != nil && now.rival != nil {
		return nil, errRecord
	}
	t.byID = append(t.byID, f)
	if older != nil {
		f.older, older.rival = older, f
	} else {
		t.byAddr[f.Client] = f
	}
	t.counts[f.State].Add(1)
	t.list(f).front(f)
	t.budget.adopt(&f.Client.IP, t.room, f.State == HalfOpen)
	return f, nil
}

// adopt counts a flow of ip in that there is already.
func (b *Budget) adopt(ip *[16]byte, room *Quota, halfOpen bool) {
	n := 0
	if halfOpen {
		n = 1
	}
	b.change(ip, room, 1, n)
}

// AdoptUpstream makes an Upstream of the socket of a flow of another process; taken is the word of its pool's entry, nil if it
// is of none.
func AdoptUpstream(c *udpbatch.Conn, taken *atomic.Uint32) *Upstream {
	if taken != nil {
		taken.Store(1)
		return NewUpstream(c, taken)
	}
	return &Upstream{Conn: c}
}

// Word is that of its pool's entry, nil if it is of none.
func (p *Upstream) Word() *atomic.Uint32 { return p.taken }
