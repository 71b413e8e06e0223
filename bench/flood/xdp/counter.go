package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/cilium/ebpf/link"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// Answers counts what came back to a flood's sources.
type Answers struct {
	All   uint64 // datagrams from the service
	Right uint64 // HelloVerifyRequests, complete, with the record sequence number of their question
	Bytes uint64 // of the frames
}

// Answer is one answer.
type Answer struct {
	Peer     netip.AddrPort // the source that it is sent to
	Datagram []byte
}

// At says where in the stack answers are counted.
type At int

// Places to count at.
const (
	// Driver counts in an XDP program, for answers sent by XDP_TX, which a veth delivers only to a peer with XDP.
	// Counting the answers of sockets there would copy them, at their sender's expense.
	Driver At = iota
	// Stack counts in a tc program, for answers of sockets.
	Stack
	// Return counts like Driver and sends every answer back. A program that answers everything is then saturated for
	// the cost of a single flood of a few hundred frames. IPv4 only.
	Return
)

// Counter counts a flow's answers on the flow's interface, and drops them.
type Counter struct {
	objects countObjects
	link    io.Closer
	flow    Flow
}

// Count attaches a counter. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
func Count(f Flow, at At) (*Counter, error) {
	if err := f.Check(); err != nil {
		return nil, fmt.Errorf("count answers: %w", err)
	}
	c := &Counter{flow: f}
	if err := c.attach(at); err != nil {
		return nil, errors.Join(fmt.Errorf("count answers on %s: %w", f.Interface.Name, err), c.Close())
	}
	return c, nil
}

func (c *Counter) attach(at At) error {
	spec, err := loadCount()
	if err != nil {
		return err
	}
	l := c.flow.Layout()
	address := c.flow.Sources.Masked().Addr().AsSlice()
	values := map[string]any{
		"ether_type": traffic.NetworkOrder16(l.EtherType), "port": traffic.NetworkOrder16(c.flow.Destination.Port()),
		"udp_at": uint32(l.UDPAt), "dest_at": uint32(l.DestAt),
		"dest":      binary.NativeEndian.Uint32(address[len(address)-4:]),
		"dest_mask": ^traffic.NetworkOrder(c.flow.Vary()),
	}
	if at == Return {
		values["send_back"] = uint32(1)
	}
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&c.objects, nil); err != nil {
		return err
	}
	index := c.flow.Interface.Index
	if at == Stack {
		a, err := tc.Attach(c.objects.CountSkbs, tc.Options{Interface: index, Hook: tc.Ingress, Name: filterName, Priority: filterPriority})
		if err == nil {
			c.link = a
		}
		return err
	}
	x, err := link.AttachXDP(link.XDPOptions{Program: c.objects.CountFrames, Interface: index, Flags: link.XDPDriverMode})
	if err == nil {
		c.link = x
	}
	return err
}

// Close detaches the counter.
func (c *Counter) Close() error {
	var err error
	if c.link != nil {
		err = c.link.Close()
	}
	return errors.Join(err, c.objects.Close())
}

// Answers returns the counts so far.
func (c *Counter) Answers() (a Answers, err error) {
	var counts []countCount
	if err := c.objects.Counts.Lookup(uint32(0), &counts); err != nil {
		return a, fmt.Errorf("read counter of answers: %w", err)
	}
	for i := range counts {
		a.All += counts[i].Answers
		a.Right += counts[i].Right
		a.Bytes += counts[i].Bytes
	}
	return a, nil
}

// Samples returns the latest of the answers kept, one in about a thousand. Answers written meanwhile may be torn: call it
// after the flood.
func (c *Counter) Samples() (all []Answer, err error) {
	var s countSample
	for i := range c.objects.Samples.MaxEntries() {
		if err := c.objects.Samples.Lookup(i, &s); err != nil {
			return nil, fmt.Errorf("read sample of answers: %w", err)
		}
		if s.Length != 0 {
			all = append(all, c.answer(s.Frame[:s.Length]))
		}
	}
	return all, nil
}

func (c *Counter) answer(frame []byte) Answer {
	l := c.flow.Layout()
	size := len(c.flow.Destination.Addr().AsSlice())
	peer, _ := netip.AddrFromSlice(frame[l.DestAt+4-size : l.DestAt+4])
	port := binary.BigEndian.Uint16(frame[l.UDPAt+2:])
	payload := l.PayloadAt()
	end := l.UDPAt + int(binary.BigEndian.Uint16(frame[l.UDPAt+4:]))
	return Answer{netip.AddrPortFrom(peer, port), append([]byte(nil), frame[payload:min(end, len(frame))]...)}
}
