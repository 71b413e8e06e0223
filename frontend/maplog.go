package frontend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// mapLog writes a line for each flow of a proxy that opens and that closes. Workers queue entries and never wait: what does not
// fit is counted. A nil mapLog writes nothing.
type mapLog struct {
	name  string
	log   *slog.Logger
	at    func(clock int64) time.Time // converts the workers' clock
	queue chan mapEntry
	calls chan func(*mapWriter) // functions for the writer to call
	stop  chan struct{}
	ended chan struct{}

	written, dropped, failed atomic.Uint64 // lines
	stalled                  atomic.Bool   // a write to the file is blocking
}

// mapEntry is what a worker knows of a flow that opens or closes.
type mapEntry struct {
	at               int64
	service          string
	client           netip.AddrPort
	upstream, server netip.AddrPort
	closed           bool
	why              metrics.Event
	state            relay.State
	age              time.Duration
	toServer         relay.Traffic
	toClient         relay.Traffic
}

// mapLine is a line of the file.
type mapLine struct {
	Time     time.Time      `json:"time"`
	Event    string         `json:"event"` // opened, closed
	Service  string         `json:"service"`
	Client   netip.AddrPort `json:"client"`
	Upstream netip.AddrPort `json:"upstream"` // the guard's address and port that the server sees
	Server   netip.AddrPort `json:"server"`

	// Of a flow that closes.
	Outcome  string       `json:"outcome,omitempty"` // as in dtlsguard_flows_ended_total
	Reason   string       `json:"reason,omitempty"`
	State    string       `json:"state,omitempty"` // in which it was
	Age      float64      `json:"age_seconds,omitempty"`
	ToServer *FlowTraffic `json:"to_server,omitempty"`
	ToClient *FlowTraffic `json:"to_client,omitempty"`
}

const (
	// mapQueue holds the entries of 4096 clients that connect while a disk is busy with a write.
	mapQueue = 4096
	// mapWrite is how many lines are written at a time.
	mapWrite = 256
	// mapPatience is how long a stopping guard waits for a file whose writes block.
	mapPatience = time.Second
	// mapTell is how often it is logged that lines are lost.
	mapTell = time.Minute
)

// openMapLog opens the file that --map-log names; "" is none.
func (s *Server) openMapLog() error {
	name := s.config.MapLog
	if name == "" {
		return nil
	}
	f, err := openMapFile(name)
	if err != nil {
		return err
	}
	m := &mapLog{
		name: name, log: s.config.Log, at: func(clock int64) time.Time { return s.started.Add(time.Duration(clock - s.zero)) },
		queue: make(chan mapEntry, mapQueue), calls: make(chan func(*mapWriter)), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	s.mapLog = m
	go m.run(f)
	return nil
}

// mapLogHint says what a map log may be.
const mapLogHint = "name a regular file in an existing directory"

func openMapFile(name string) (*os.File, error) {
	f, err := regular.Append(name)
	if err != nil {
		h := mapLogHint
		if errors.Is(err, os.ErrPermission) {
			h = fmt.Sprintf("user %d, which the guard is, must be able to write to it: have logrotate create it so", os.Geteuid())
		}
		return nil, hint.Errorf(h, "open the map log: %w", err)
	}
	return f, nil
}

// opened notes that w opened f.
func (m *mapLog) opened(w *worker, f *relay.Flow) {
	if m != nil {
		m.put(w.mapEntry(f))
	}
}

// closing notes that w is about to close f.
func (m *mapLog) closing(w *worker, f *relay.Flow, why metrics.Event) {
	if m == nil {
		return
	}
	e := w.mapEntry(f)
	e.closed, e.why, e.state, e.age, e.toServer, e.toClient = true, why, f.State, time.Duration(w.now-f.Born), f.ToServer, f.ToClient
	// An ending service may have more flows than the queue can hold; only the code that ends it waits here.
	for end := time.Now().Add(mapPatience); why == metrics.Stopped && len(m.queue) == cap(m.queue) && !m.stalled.Load(); time.Sleep(time.Millisecond) {
		m.stalled.Store(time.Now().After(end))
	}
	m.put(e)
}

func (w *worker) mapEntry(f *relay.Flow) mapEntry {
	return mapEntry{at: w.now, service: w.service.name, client: f.Client.AddrPort(), upstream: f.Upstream.Local(), server: w.backends[f.Server].backend.Server()}
}

// put queues an entry, if there is room.
func (m *mapLog) put(e mapEntry) {
	select {
	case m.queue <- e:
	default:
		m.dropped.Add(1)
	}
}

// reopen opens the file anew under its name, as after a rotation. If that fails the old one stays.
func (m *mapLog) reopen() error { return m.call((*mapWriter).reopen) }

// give changes the owner of the file to the user that this process is about to become, if it is owned by the current one.
func (m *mapLog) give(uid, gid int) error {
	return m.call(func(w *mapWriter) error {
		var st unix.Stat_t
		if err := unix.Fstat(int(w.file.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() {
			return err
		}
		return w.file.Chown(uid, gid)
	})
}

// call has the writer call f between two writes.
func (m *mapLog) call(f func(*mapWriter) error) error {
	if m == nil {
		return nil
	}
	done, late := make(chan error, 1), time.After(mapPatience)
	select {
	case m.calls <- func(w *mapWriter) { done <- f(w) }:
	case <-late:
		return fmt.Errorf("map log %s: writes to the file block", m.name)
	}
	select {
	case err := <-done:
		return err
	case <-late:
		return fmt.Errorf("map log %s: writes to the file take too long", m.name)
	}
}

// close writes what is queued, if writes do not block, and closes the file.
func (m *mapLog) close() {
	if m == nil {
		return
	}
	close(m.stop)
	select {
	case <-m.ended:
	case <-time.After(mapPatience):
		m.log.Error("the map log is incomplete: writes to its file block", "file", m.name)
	}
}

// run writes until close.
func (m *mapLog) run(f *os.File) {
	defer close(m.ended)
	w := mapWriter{mapLog: m, file: f}
	defer func() { w.file.Close() }()
	for {
		select {
		case e := <-m.queue:
			w.write(e)
		case f := <-m.calls:
			f(&w)
		case <-m.stop:
			for len(m.queue) > 0 {
				w.write(<-m.queue)
			}
			return
		}
	}
}

// mapWriter belongs to the writing goroutine.
type mapWriter struct {
	*mapLog
	file *os.File
	buf  bytes.Buffer
	torn bool // the last write ended within a line
	told time.Time
	lost uint64 // lines, when it was told
}

// write writes an entry and up to mapWrite queued ones.
func (w *mapWriter) write(e mapEntry) {
	w.buf.Reset()
	if w.torn {
		w.buf.WriteByte('\n')
	}
	encoder := json.NewEncoder(&w.buf)
	n := uint64(1)
	_ = encoder.Encode(w.line(&e)) // plain values, into memory
	for ; n < mapWrite && len(w.queue) > 0; n++ {
		next := <-w.queue
		_ = encoder.Encode(w.line(&next))
	}
	k, err := w.file.Write(w.buf.Bytes())
	w.stalled.Store(err != nil)
	if err == nil {
		w.torn = false
		w.written.Add(n)
	} else {
		w.torn = w.torn || k > 0
		w.failed.Add(n)
	}
	w.tell(err)
}

// tell logs at intervals that lines are lost.
func (w *mapWriter) tell(err error) {
	lost := w.failed.Load() + w.dropped.Load()
	if lost == w.lost || time.Since(w.told) < mapTell {
		return
	}
	w.log.Error("lines of the map log are lost", "file", w.name, "lost", lost-w.lost, "error", err)
	w.told, w.lost = time.Now(), lost
}

func (w *mapWriter) reopen() error {
	f, err := openMapFile(w.name)
	if err != nil {
		w.log.Error("map log stays with the old file", "error", err, "hint", hint.Of(err))
		return err
	}
	w.file.Close()
	w.file, w.torn = f, false
	return nil
}

// line converts an entry to a line of the file.
func (m *mapLog) line(e *mapEntry) *mapLine {
	l := &mapLine{Time: m.at(e.at).UTC(), Event: "opened", Service: e.service, Client: e.client, Upstream: e.upstream, Server: e.server}
	if e.closed {
		why := metrics.Labels[e.why]
		l.Event, l.Outcome, l.Reason, l.State, l.Age = "closed", why.Outcome, why.Reason, e.state.String(), e.age.Seconds()
		l.ToServer, l.ToClient = &FlowTraffic{e.toServer.Packets, e.toServer.Bytes}, &FlowTraffic{e.toClient.Packets, e.toClient.Bytes}
	}
	return l
}
