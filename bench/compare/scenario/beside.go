package scenario

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

const (
	// besidePort has no service: datagrams to it pass the guard's program.
	besidePort = 9433
	// besideEvery is so long that only the flood fills the ring.
	besideEvery = 2 * time.Millisecond
	// besideLate is longer than a full ring takes: what has not come by then was lost.
	besideLate = 300 * time.Millisecond
)

// besideFlood measures datagrams that arrive on the guard's interface and are not for a service of the guard.
func besideFlood(*Fixtures) (*FloodRun, error) {
	t, err := xdp.FirstHello(question())
	if err != nil {
		return nil, err
	}
	s := guardSubject("dtlsguard xdp", guardOptions{})
	s.Clients = true
	return &FloodRun{Template: t, Subjects: []*Subject{s}, Visit: (*Testbed).beside, Levels: []level{
		{"none", 0}, {"half of the guard's rate", 0.5}, {"the guard's rate", 1}, {"twice the guard's rate", 2}, {"five times the guard's rate", 5},
	}}, nil
}

// beside sends h.Tried datagrams, and fills in how many arrived and how long they took.
func (b *Testbed) beside(h *result.Handshakes) error {
	to := netip.AddrPortFrom(lab.Middle4, besidePort)
	var in, out *net.UDPConn
	err := b.Lab.Middle.Do(func() (err error) {
		in, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return err
	}
	defer in.Close()
	err = b.Lab.Client.Do(func() (err error) {
		// Permanent, since an ARP request could be lost as well.
		if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: b.flow.Interface.Index, State: netlink.NUD_PERMANENT, IP: to.Addr().AsSlice(), HardwareAddr: b.flow.Peer}); err != nil {
			return fmt.Errorf("set the guard's neighbour entry: %w", err)
		}
		out, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return err
	}
	defer out.Close()
	began, arrived := time.Now(), make(chan []float64)
	go func() {
		var took []float64
		for d := make([]byte, 64); ; {
			if _, err := in.Read(d); err != nil {
				arrived <- took
				return
			}
			took = append(took, float64(time.Since(began)-time.Duration(binary.NativeEndian.Uint64(d)))/float64(time.Millisecond))
		}
	}()
	every := time.NewTicker(besideEvery)
	defer every.Stop()
	for range h.Tried {
		<-every.C
		if _, err = out.Write(binary.NativeEndian.AppendUint64(nil, uint64(time.Since(began)))); err != nil && !os.IsTimeout(err) {
			break
		}
	}
	if e := in.SetReadDeadline(time.Now().Add(besideLate)); err == nil {
		err = e
	}
	h.Sum(<-arrived)
	return err
}
