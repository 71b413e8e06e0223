package handoff

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// State is a Backend as another process can take it over. Times are Unix nanoseconds.
type State struct {
	Mode     Mode          `json:"mode"`
	Profile  *Profile      `json:"profile"`
	Up       bool          `json:"up"`
	Serves   bool          `json:"serves"`
	Harvests uint64        `json:"harvests"`
	Known    []byte        `json:"known,omitempty"` // the canary's cookie
	Moved    bool          `json:"moved"`
	Began    int64         `json:"began"`
	Accepted time.Duration `json:"accepted_age"` // lifetimeProbes.passed
	Canary   int           `json:"canary"`       // file
	Pool     *PoolState    `json:"pool,omitempty"`
}

// PoolState is a Pool's. Its entries are next to it, for they are many.
type PoolState struct {
	Size     int      `json:"size"`
	InUse    int32    `json:"in_use"`
	Bounded  int32    `json:"bounded"`
	Most     int      `json:"most"`
	Rounds   uint32   `json:"rounds"`
	Computed bool     `json:"computed"`
	Counts   bool     `json:"counts"`
	Pending  bool     `json:"pending"`
	Several  bool     `json:"several"`
	First    string   `json:"first"`
	Ports    []uint16 `json:"ports"`
	Entries  []byte   `json:"-"`
	Kept     []int    `json:"kept,omitempty"` // files
	Held     [][2]int `json:"held,omitempty"` // entries that are held for their clients, and files
	Left     []int64  `json:"left,omitempty"`
	Asked    []int64  `json:"asked,omitempty"`
}

// Hold keeps the watch from doing anything until release, or gives up at the end of ctx.
func (b *Backend) Hold(ctx context.Context) (release func(), err error) {
	if b.turn.TryLock() {
		return b.turn.Unlock, nil
	}
	held := make(chan struct{})
	go func() { b.turn.Lock(); close(held) }() // a watch that fills a pool gives way to who waits, not to TryLock
	select {
	case <-held:
		return b.turn.Unlock, nil
	case <-ctx.Done():
		go func() { <-held; b.turn.Unlock() }()
		return nil, fmt.Errorf("back end %v is being asked, and does not answer in time: %w", b.config.Server, ctx.Err())
	}
}

// Export is the state of a Backend that is held, whose pool it shares. The files stay its own.
func (b *Backend) Export(files *handover.Files) *State {
	d := b.decision.Load()
	s := &State{
		Mode: d.mode, Profile: d.profile, Up: b.up.Load(), Serves: b.serves.Load(), Harvests: b.harvests.Load(),
		Known: b.known, Moved: b.moved, Began: b.began.UnixNano(), Accepted: time.Duration(b.lifetime.passed.Load()), Canary: -1,
	}
	if c, ok := b.canary.(*udpbatch.Conn); ok {
		s.Canary = files.Add(c.FD())
	}
	if d.pool != nil {
		s.Pool = d.pool.export(files)
	}
	return s
}

func (p *Pool) export(files *handover.Files) *PoolState {
	s := &PoolState{
		Size: p.size, InUse: p.inUse.Load(), Bounded: p.bounded.Load(), Most: p.most, Rounds: p.rounds, Computed: p.computed, Counts: p.counts, Pending: p.pending,
		Several: p.sources.several, First: p.sources.first.String(), Ports: p.sources.ports, Entries: bytesOf(p.entries),
	}
	p.holds.mu.Lock()
	defer p.holds.mu.Unlock()
	for i, c := range p.holds.sockets {
		s.Held = append(s.Held, [2]int{i, files.Add(c.FD())})
	}
	for i, u := range p.kept {
		s.Kept = append(s.Kept, files.Add(u.FD()))
		s.Left, s.Asked = append(s.Left, p.left[i].Load()), append(s.Asked, p.asked[i].UnixNano())
	}
	return s
}

// bytesOf is the memory of entries.
func bytesOf(e []Entry) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(e))), len(e)*int(unsafe.Sizeof(Entry{})))
}

var errState = errors.New("the state of a back end makes no sense")

// Adopt continues a Backend of another process: nothing is asked. Run watches it.
func Adopt(c Config, s *State, files *handover.Files) (*Backend, error) {
	if s.Profile == nil || s.Mode == Auto {
		return nil, errState
	}
	b := newBackend(c)
	var err error
	if b.prober, err = newProber(b.config.Server); err != nil {
		return nil, err
	}
	if b.canary, err = adoptCanary(s, files); err != nil {
		b.canary, b.moved = nil, true
		if b.canary, err = b.prober.dial(netip.AddrPort{}); err != nil {
			b.canary = nil
			b.Close()
			return nil, err
		}
	}
	if b.config.Keys != nil {
		b.prober.ring = b.config.Keys()
	}
	d := &decision{mode: s.Mode, profile: s.Profile}
	if s.Pool != nil {
		d.pool, err = b.adoptPool(s.Pool, files)
	} else if s.Mode.NeedsPool() {
		err = errState
	}
	b.decision.Store(d)
	if err != nil {
		b.Close()
		return nil, err
	}
	b.up.Store(s.Up)
	b.serves.Store(s.Serves)
	b.harvests.Store(s.Harvests)
	b.known, b.moved, b.began = s.Known, b.moved || s.Moved, time.Unix(0, s.Began)
	b.complete = d.pool != nil && int(d.pool.known.Load()) >= d.pool.size
	b.lifetime.passed.Store(int64(s.Accepted))
	return b, nil
}

func adoptCanary(s *State, files *handover.Files) (line, error) {
	fd, ok := files.Take(s.Canary)
	if !ok {
		return nil, errState
	}
	c, err := udpbatch.Adopt(fd)
	if err != nil {
		return nil, err // not a nil *udpbatch.Conn
	}
	return c, nil
}

func (b *Backend) adoptPool(s *PoolState, files *handover.Files) (*Pool, error) {
	n := len(s.Entries) / int(unsafe.Sizeof(Entry{}))
	first, err := netip.ParseAddr(s.First)
	p := &Pool{
		server: b.config.Server, sources: sources{first: first, several: s.Several, ports: s.Ports}, size: s.Size,
		computed: s.Computed, counts: s.Counts, pending: s.Pending,
	}
	if err != nil || !s.fits(n) || p.sources.several && p.sources.most() < n {
		return nil, errState
	}
	t := b.memory(n)
	if len(t.Entries) < n {
		return nil, errState
	}
	p.entries, p.clock = t.Entries[:n], t.Clock
	copy(bytesOf(p.entries), s.Entries)
	for i := range p.entries {
		e := &p.entries[i]
		e.taken.Store(0) // flows take theirs
		if e.length.Load() > hello.MaxCookie {
			return nil, errState
		}
		if e.known() {
			p.known.Add(1)
		}
	}
	p.tick(time.Now())
	if p.asker, err = newAsker((&hello.Probe{}).Append(nil), len(s.Kept) > 0); err != nil {
		return nil, err
	}
	p.rate, p.most, p.rounds = b.config.Rate, s.Most, s.Rounds
	p.inUse.Store(s.InUse)
	p.bounded.Store(s.Bounded)
	p.holds.begin()
	for _, h := range s.Held {
		p.adoptHold(h[0], h[1], files)
	}
	return p, p.adoptSockets(s, files)
}

// fits reports whether the numbers of a pool can be those of one with n entries.
func (s *PoolState) fits(n int) bool {
	within := func(i int) bool { return i >= 0 && i <= n }
	switch {
	case n == 0, n > MaxPool*2, !within(int(s.InUse)), !within(int(s.Bounded)), !within(s.Most), s.Size < 1, s.Size > MaxPool*2:
		return false
	case len(s.Ports) == 0 && len(s.Kept) == 0, !s.Several && len(s.Ports) < n:
		return false
	}
	return len(s.Kept) == 0 || len(s.Kept) == n && len(s.Left) == n && len(s.Asked) == n
}

// adoptHold holds entry i by a file. Without one its port may be another program's when the client comes.
func (p *Pool) adoptHold(i, number int, files *handover.Files) {
	fd, ok := files.Take(number)
	if !ok {
		return
	}
	c, err := udpbatch.Adopt(fd)
	if err != nil {
		return
	}
	if _, twice := p.holds.sockets[i]; twice || i < 0 || i >= len(p.entries) || p.holds.room.Load() <= 0 {
		_ = c.Close()
		return
	}
	p.holds.sockets[i] = c
	p.holds.room.Add(-1)
}

// adoptSockets takes over the sockets of a pool that keeps them. One that could not be sent is opened anew: its cookie is
// of another port.
func (p *Pool) adoptSockets(s *PoolState, files *handover.Files) error {
	if len(s.Kept) == 0 {
		return nil
	}
	p.left, p.asked = make([]atomic.Int64, len(p.entries)), make([]time.Time, len(p.entries))
	for i, number := range s.Kept {
		var c *udpbatch.Conn
		var err error
		if fd, ok := files.Take(number); ok {
			c, err = udpbatch.Adopt(fd)
			p.left[i].Store(s.Left[i])
			p.asked[i] = time.Unix(0, s.Asked[i])
		} else {
			c, err = udpbatch.Dial(p.server)
			p.forgetOne(i)
		}
		if err != nil {
			return poolError(i, len(p.entries), err)
		}
		p.kept = append(p.kept, relay.KeepUpstream(c, &p.entries[i].taken))
	}
	return nil
}

// EntryOf is the entry of the pool in force that a flow's socket is of, -1 if it is of none; kept says that the pool keeps the
// socket.
func (b *Backend) EntryOf(u *relay.Upstream) (entry int, kept bool) {
	p, word := b.pool(), u.Word()
	if p == nil || word == nil {
		return -1, false
	}
	base := uintptr(unsafe.Pointer(&p.entries[0].taken))
	at := uintptr(unsafe.Pointer(word)) - base
	i := int(at / unsafe.Sizeof(Entry{}))
	if uintptr(unsafe.Pointer(word)) < base || i >= len(p.entries) || &p.entries[i].taken != word {
		return -1, false
	}
	return i, p.kept != nil && p.kept[i] == u
}

// AdoptUpstream is the socket of a flow of another process: c, or that which the pool keeps for the entry if c is nil.
func (b *Backend) AdoptUpstream(c *udpbatch.Conn, entry int) (*relay.Upstream, error) {
	p := b.pool()
	if entry >= 0 && (p == nil || entry >= len(p.entries)) {
		return nil, errState
	}
	switch {
	case c != nil && entry < 0:
		return relay.AdoptUpstream(c, nil), nil
	case c != nil && p.kept == nil && p.free(entry):
		return relay.AdoptUpstream(c, &p.entries[entry].taken), nil
	case c == nil && entry >= 0 && p.kept != nil && p.kept[entry].Acquire():
		return p.kept[entry], nil
	}
	return nil, errState
}
