package handoff

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// line is a socket of a network.
type line interface {
	Local() netip.AddrPort
	Close() error
}

// network carries a prober's questions to its server. Tests have a simulated one with a virtual clock.
type network interface {
	// dial opens a socket bound to local, or to an address that the kernel chooses if local is not valid.
	dial(local netip.AddrPort) (line, error)
	// exchange sends a question and returns the first datagram that comes within wait after it, until the next call.
	// Without a question it also returns what has already arrived. The error is ErrNoAnswer if nothing comes,
	// errRefused if nothing listens there.
	exchange(ctx context.Context, l line, wait time.Duration, question ...[]byte) ([]byte, error)
	// send sends a datagram that has no answer.
	send(l line, d []byte)
	close()
}

// sockets is the network of this host.
type sockets struct {
	server netip.AddrPort
	poller *udpbatch.Poller
	batch  *udpbatch.Batch
	queue  *udpbatch.Queue
}

// questionCap is the most datagrams of a question: a ClientHello in two fragments.
const questionCap = 2

func newSockets(server netip.AddrPort) (*sockets, error) {
	s := &sockets{server: server, queue: udpbatch.NewQueue(questionCap)}
	var err error
	if s.poller, err = udpbatch.NewPoller(1); err != nil {
		return nil, err
	}
	if s.batch, err = udpbatch.NewBatch(1); err != nil {
		_ = s.poller.Close()
		return nil, err
	}
	return s, nil
}

func (s *sockets) close() {
	s.batch.Close()
	_ = s.poller.Close()
}

func (s *sockets) dial(local netip.AddrPort) (line, error) {
	c, err := udpbatch.DialFrom(local, s.server)
	if err != nil {
		return nil, err // not a nil *udpbatch.Conn
	}
	return c, nil
}

func (s *sockets) send(l line, d []byte) {
	s.queue.Add(d, nil)
	_, _ = l.(*udpbatch.Conn).Send(s.queue)
}

func (s *sockets) exchange(ctx context.Context, l line, wait time.Duration, question ...[]byte) ([]byte, error) {
	c := l.(*udpbatch.Conn)
	if len(question) > 0 {
		for n := 1; n > 0; { // late answers to an earlier question
			s.batch.Reset()
			n, _ = c.Recv(s.batch)
		}
		for _, d := range question {
			s.queue.Add(d, nil)
		}
		if _, err := c.Send(s.queue); err != nil {
			return nil, refusal(err)
		}
	}
	if err := s.poller.Add(c.FD(), udpbatch.Event{}); err != nil {
		return nil, err
	}
	defer s.poller.Remove(c.FD())
	for end := time.Now().Add(wait); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil, ErrNoAnswer
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		const stir = 50 * time.Millisecond // ctx may end meanwhile
		if _, _, err := s.poller.Wait(int(min(left, stir).Milliseconds()) + 1); err != nil {
			return nil, err
		}
		s.batch.Reset()
		n, err := c.Recv(s.batch)
		if err != nil {
			return nil, refusal(err)
		}
		if n > 0 {
			return s.batch.Datagram(0), nil
		}
	}
}

func refusal(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) {
		return errRefused
	}
	return err
}
