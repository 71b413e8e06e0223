package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A stream sends a number every tick. At most as many may be lost in a row as fall into a client's first
// retransmission (1 s, RFC 6347 section 4.2.4.1): no disturbance of a guard may cost clients more.
const (
	tick    = 10 * time.Millisecond
	maxLost = int(time.Second / tick)
)

// stream is an association with traffic at all times.
type stream struct {
	t    *testing.T
	conn *pionClient
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	sent uint32
	back map[uint32]bool
}

// openStream opens an association and starts to send.
func openStream(t *testing.T, p *place, to netip.AddrPort) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dialPion(ctx, t, p.Lab, to)
	if err != nil {
		t.Fatalf("pion: %v", err)
	}
	s := &stream{t: t, conn: c, stop: make(chan struct{}), back: make(map[uint32]bool)}
	s.done.Go(s.send)
	s.done.Go(s.receive)
	t.Cleanup(s.end)
	s.flows("after the handshake")
	return s
}

// send sends from every CPU in turn, so that packets of one client arrive on all of them: a veth receives them where
// they are sent, and real interfaces change CPU with irqbalance and RPS.
func (s *stream) send() {
	runtime.LockOSThread() // and never unlock: the affinity is this thread's
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		n := s.sent
		s.sent++
		s.mu.Unlock()
		var cpu unix.CPUSet
		cpu.Set(int(n) % runtime.NumCPU())
		if err := unix.SchedSetaffinity(0, &cpu); err != nil {
			s.t.Errorf("stream: move to CPU %d: %v", int(n)%runtime.NumCPU(), err)
		}
		if _, err := s.conn.conn.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
			s.t.Errorf("stream: %v", err)
			return
		}
	}
}

func (s *stream) receive() {
	b := make([]byte, 64)
	for {
		_ = s.conn.conn.SetReadDeadline(time.Now().Add(tick))
		n, err := s.conn.conn.Read(b)
		var timeout net.Error
		switch {
		case err == nil && n == 4:
			s.mu.Lock()
			s.back[binary.BigEndian.Uint32(b)] = true
			s.mu.Unlock()
		case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		default:
			s.t.Errorf("stream: %d bytes, %v", n, err)
			return
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

// flows waits until ten numbers sent from now on have come back.
func (s *stream) flows(when string) {
	s.t.Helper()
	s.mu.Lock()
	from := s.sent
	s.mu.Unlock()
	for end := time.Now().Add(patience); ; time.Sleep(tick) {
		s.mu.Lock()
		n := 0
		for i := from; i < s.sent; i++ {
			if s.back[i] {
				n++
			}
		}
		s.mu.Unlock()
		if n >= 10 {
			return
		}
		if time.Now().After(end) || s.t.Failed() {
			s.t.Fatalf("the stream is cut %s", when)
		}
	}
}

// end stops the stream.
func (s *stream) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
		s.done.Wait()
	}
}

// check ends the stream and checks the losses over a number of disturbances. What is late is not lost: only numbers
// that were sent before it was called count, and it waits for them.
func (s *stream) check(disturbances int) {
	s.t.Helper()
	s.mu.Lock()
	sent := s.sent
	s.mu.Unlock()
	s.flows("at the end")
	lost, longest := s.lost(sent)
	for end := time.Now().Add(patience); longest > maxLost || lost > disturbances*maxLost; lost, longest = s.lost(sent) {
		if time.Now().After(end) || s.t.Failed() {
			s.t.Errorf("%d of %d were lost, %d in a row", lost, sent, longest)
			break
		}
		time.Sleep(tick)
	}
	s.end()
	s.t.Logf("%d of %d lost, at most %d in a row", lost, sent, longest)
}

// lost counts the numbers below sent that have not come back, and the most of them in a row.
func (s *stream) lost(sent uint32) (lost, longest int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := 0
	for i := range sent {
		if s.back[i] {
			row = 0
			continue
		}
		lost++
		row++
		longest = max(longest, row)
	}
	return lost, longest
}
