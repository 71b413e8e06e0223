package bpf

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

// The ingress program leaves alone what it cannot assign, here because a test run is not in the stack: the datagram stays on the
// workers' port. Everything else it passes without a look at the service.
func TestIngressKeepsWhatItCannotAssign(t *testing.T) {
	assigning := inline()
	assigning.Assign = true
	assigns, without := guarding(t, assigning), guarding(t, inline())
	for name, make := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		for _, c := range []struct {
			g    *Programs
			port uint16
			d    []byte
			want string
		}{
			{assigns, assigning.WorkersPort, firstHello, "ingress:port"},
			{assigns, assigning.WorkersPort, appData, "ingress:port"},
			{assigns, assigning.WorkersPort, nil, "ingress:port"},
			{assigns, assigning.Port, firstHello, ""},
			{assigns, 53, firstHello, ""},
			{without, assigning.WorkersPort, firstHello, ""},
		} {
			for _, vlans := range [][]uint16{nil, {0x8100}} {
				p := make(c.d)
				p.VLANs = vlans
				p.Dst = netip.AddrPortFrom(p.Dst.Addr(), c.port)
				before := counters(t, c.g)
				frame := p.bytes()
				o := ebpf.RunOptions{Data: frame, DataOut: append([]byte(nil), frame...)}
				action, err := c.g.progs.Ingress.Run(&o)
				if err != nil {
					t.Fatal(err)
				}
				if next := ^uint32(0); action != next || !bytes.Equal(o.DataOut, frame) {
					t.Errorf("%s to port %d: action %d, or the frame was changed", name, c.port, int32(action))
				}
				if got := moved(t, c.g, before); got != c.want {
					t.Errorf("%s to port %d, tags %x: %q, want %q", name, c.port, vlans, got, c.want)
				}
			}
		}
	}
}

// Workers undo the content type of what was assigned to them, and nothing else.
func TestUnassign(t *testing.T) {
	for _, c := range []struct{ in, want []byte }{{nil, nil}, {[]byte{AssignedType, 0xfe}, []byte{22, 0xfe}}, {[]byte{23, AssignedType}, []byte{23, AssignedType}}} {
		if Unassign(c.in); !bytes.Equal(c.in, c.want) {
			t.Errorf("% x, want % x", c.in, c.want)
		}
	}
}
