package bpf

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Structures of the kernel's ABI have its sizes: the count follows the specification, and the numbers of rules the count.
func TestSteeringLayout(t *testing.T) {
	var r rxnfc
	if unsafe.Sizeof(flowSpec{}) != 168 || unsafe.Offsetof(r.spec) != 16 || unsafe.Offsetof(r.count) != 184 || unsafe.Offsetof(r.places) != 188 {
		t.Errorf("sizes: %d, at %d, %d, %d", unsafe.Sizeof(flowSpec{}), unsafe.Offsetof(r.spec), unsafe.Offsetof(r.count), unsafe.Offsetof(r.places))
	}
}

func TestSteeringRules(t *testing.T) {
	spec := func(kind uint32, at int, port, mask uint16, queue uint64) *flowSpec {
		s := &flowSpec{kind: kind, queue: queue}
		binary.BigEndian.PutUint16(s.value[at:], port)
		binary.BigEndian.PutUint16(s.mask[at:], mask)
		return s
	}
	for _, c := range []struct {
		spec *flowSpec
		want string // "": none about UDP to one port
	}{
		{spec(flowUDP4, port4At, 4433, 0xffff, 6), "udp4 dst-port 4433 to queue 6"},
		{spec(flowUDP6, port6At, 4433, 0xffff, 7), "udp6 dst-port 4433 to queue 7"},
		{spec(flowUDP4, port4At, 53, 0xffff, discards), "udp4 dst-port 53 is discarded"},
		{spec(flowUDP4, port4At, 4433, 0xff00, 6), ""},
		{spec(flowUDP4, 0, 4433, 0xffff, 6), ""}, // an address
		{spec(1, port4At, 4433, 0xffff, 6), ""},  // TCP
	} {
		r, ok := c.spec.rule()
		if ok != (c.want != "") || ok && r.String() != c.want {
			t.Errorf("%v, %v: want %q", r, ok, c.want)
		}
	}
	for want, f := range map[string]Finding{
		"has none":                 steering("eth0", nil, unix.EOPNOTSUPP),
		"no UDP port has a queue":  steering("eth0", nil, nil),
		"cannot be read":           steering("eth0", nil, unix.EPERM),
		"dst-port 4433 to queue 6": steering("eth0", []rule{{port: 4433, queue: 6}}, nil),
	} {
		if !strings.Contains(f.Text, want) {
			t.Errorf("%+v, want %q", f, want)
		}
	}
}

func TestSteeringOfLoopback(t *testing.T) {
	if f := probeSteering(&net.Interface{Name: "lo"}); f.Level != Pass || !strings.Contains(f.Text, "has none") {
		t.Errorf("%+v", f)
	}
}
