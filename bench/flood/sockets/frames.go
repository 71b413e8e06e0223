package sockets

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// frames is a carrier that sends complete frames from an interface, and receives answers before the kernel drops them for
// want of a receiver.
type frames struct {
	flow     traffic.Flow
	envelope *traffic.Envelope
	conn     *udpbatch.Conn
	slots    [][]byte
	queue    *udpbatch.Queue
	in       *udpbatch.Batch
	poller   *udpbatch.Poller
}

func openFrames(f traffic.Flow, batch int) (*frames, error) {
	s := &frames{flow: f, envelope: f.Envelope(), slots: make([][]byte, batch), queue: udpbatch.NewQueue(batch)}
	fd, err := packetSocket(&f)
	if errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: frames from an interface need root, or CAP_NET_RAW; on loopback, without an interface, nothing is needed", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", f.Interface.Name, err)
	}
	s.conn = udpbatch.FromFD(fd)
	if s.in, err = udpbatch.NewBatch(batch); err == nil {
		if s.poller, err = udpbatch.NewPoller(1); err == nil {
			err = s.poller.Add(fd, udpbatch.Event{})
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// packetSocket opens a socket that sends on f's interface and receives the answers to f alone.
func packetSocket(f *traffic.Flow) (int, error) {
	program, err := answersOnly(f)
	if err != nil {
		return 0, err
	}
	// With protocol 0 it receives nothing until its filter is set.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	l := f.Layout()
	err = errors.Join(
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}),
		// Bypasses the interface's queue: what the link does not accept is counted, not queued.
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: traffic.NetworkOrder16(l.EtherType), Ifindex: f.Interface.Index}),
	)
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (s *frames) source(random uint64) netip.AddrPort { return s.flow.Source(random) }

func (s *frames) add(source netip.AddrPort, datagram []byte) {
	slot := &s.slots[s.queue.Len()]
	*slot = s.envelope.Append((*slot)[:0], source, datagram)
	s.queue.Add(*slot, nil)
}

func (s *frames) flush() int {
	sent, _ := s.conn.Send(s.queue)
	return sent
}

func (s *frames) receive(each func(netip.AddrPort, []byte)) {
	for more := true; more; {
		s.in.Reset()
		n, err := s.conn.Recv(s.in)
		for i := range s.in.Len() {
			if source, d, ok := s.flow.Answer(s.in.Datagram(i)); ok && s.flow.Sources.Contains(source.Addr()) {
				each(source, d)
			}
		}
		more = err == nil && n == s.in.Cap()
	}
}

func (s *frames) wait(most int) error {
	_, _, err := s.poller.Wait(most)
	return err
}

func (s *frames) close() error {
	err := s.conn.Close()
	if s.poller != nil {
		err = errors.Join(err, s.poller.Close())
	}
	if s.in != nil {
		err = errors.Join(err, s.in.Close())
	}
	return err
}
