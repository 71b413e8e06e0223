package sample

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Config of a Sample.
type Config struct {
	Target netip.AddrPort
	Source func() netip.Addr // address of the next client, one of this host; the kernel picks the port
	Rate   float64           // clients per second, more than 0
	Return int               // one client in Return returns its cookie; 0: none
	Hello  []byte            // first ClientHello of a real client, in one datagram
}

const (
	// patience is the time after which a client would retransmit (RFC 6347 section 4.2.4.1). These do not: unanswered
	// questions are counted.
	patience = time.Second
	// atOnce is the number of clients that may wait at once, each with a socket: below the usual limit of open files.
	atOnce = 512
	// tick is the precision of timeouts.
	tick = 50 * time.Millisecond
	// maxSeen is the number of cookies kept for comparison, the first ones: some 10 MB.
	maxSeen = 1 << 16
)

// Sample is a set of clients. mu guards the fields that Take reads; the others belong to Run.
type Sample struct {
	config    Config
	namespace int // handle of the namespace that New was called in
	poller    *udpbatch.Poller
	clients   [atOnce]*client // nil: free
	started   uint64
	underWay  int
	seen      map[string]netip.AddrPort // which source had a cookie first
	in        [room]byte

	mu          sync.Mutex
	since, ever *tally
}

// New prepares the clients and checks that there is a route to the target. Clients start with Run.
func New(c Config) (*Sample, error) {
	if c.Rate <= 0 || c.Return < 0 || c.Source == nil {
		return nil, fmt.Errorf("sample: %v clients per second, one in %d to return its cookie: want more", c.Rate, c.Return)
	}
	if _, err := second(c.Hello, nil, 1); err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	conn, err := dial(c.Source(), c.Target)
	if err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	conn.Close()
	s := &Sample{config: c, seen: make(map[string]netip.AddrPort), since: newTally(), ever: newTally()}
	if s.poller, err = udpbatch.NewPoller(atOnce); err != nil {
		return nil, fmt.Errorf("sample: %w", err)
	}
	if s.namespace, err = unix.Open(ownNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("sample: open network namespace: %w", err), s.poller.Close())
	}
	return s, nil
}

const ownNamespace = "/proc/thread-self/ns/net"

// Close releases everything, after Run has returned.
func (s *Sample) Close() error { return errors.Join(s.poller.Close(), unix.Close(s.namespace)) }

// Take returns the report since the last call, and that of all clients.
func (s *Sample) Take() (since, all Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	since = s.since.report()
	s.ever.add(s.since)
	s.since.reset()
	return since, s.ever.report()
}

// Run starts clients until ctx ends, and returns when the last of them has its answer or has timed out.
func (s *Sample) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread keeps the namespace, and ends with the goroutine
		err := s.enter()
		if err == nil {
			err = s.loop(ctx)
		}
		ended <- err
	}()
	if err := <-ended; err != nil {
		return fmt.Errorf("sampled clients: %w", err)
	}
	return nil
}

// enter enters the namespace that New was called in, which needs privileges unless the thread is in it.
func (s *Sample) enter() error {
	var here, there unix.Stat_t
	err := errors.Join(unix.Stat(ownNamespace, &here), unix.Fstat(s.namespace, &there))
	if err == nil && here.Ino != there.Ino {
		err = unix.Setns(s.namespace, unix.CLONE_NEWNET)
	}
	return err
}

func (s *Sample) loop(ctx context.Context) error {
	defer s.giveUp(time.Time{})
	halt := context.AfterFunc(ctx, s.poller.Wake)
	defer halt()
	each := time.Duration(float64(time.Second) / s.config.Rate)
	for next := time.Now(); ; {
		now := time.Now()
		s.giveUp(now)
		if ctx.Err() != nil && s.underWay == 0 {
			return nil
		}
		if next.Add(tick).Before(now) { // kept off its CPU: missed clients are skipped, or they would start as a burst
			next = now
		}
		for ; ctx.Err() == nil && !next.After(now); next = next.Add(each) {
			if err := s.start(); err != nil {
				return err
			}
		}
		pause := min(tick, max(time.Millisecond, time.Until(next)))
		if ctx.Err() != nil {
			pause = tick
		}
		n, _, err := s.poller.Wait(int(pause.Milliseconds()))
		if err != nil {
			return err
		}
		for i := range n {
			s.read(int(s.poller.Event(i).A))
		}
	}
}

// count counts an event.
func (s *Sample) count(e Event) {
	s.mu.Lock()
	s.since.events[e]++
	s.mu.Unlock()
}
