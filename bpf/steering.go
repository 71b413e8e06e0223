package bpf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rule is one of a device's that steers UDP to a port into a receive queue (ethtool -N ... flow-type udp4 dst-port P action Q).
type rule struct {
	v6    bool
	port  uint16
	queue uint64
}

// String is how ethtool -N writes it.
func (r rule) String() string {
	family := "udp4"
	if r.v6 {
		family = "udp6"
	}
	if r.queue == discards {
		return fmt.Sprintf("%s dst-port %d is discarded", family, r.port)
	}
	return fmt.Sprintf("%s dst-port %d to queue %d", family, r.port, r.queue)
}

// Numbers of linux/ethtool.h.
const (
	flowUDP4 = 0x02
	flowUDP6 = 0x06
	// port4At and port6At are the destination port in struct ethtool_tcpip4_spec and ethtool_tcpip6_spec.
	port4At  = 10
	port6At  = 34
	discards = ^uint64(0) // RX_CLS_FLOW_DISC
	mostRule = 1024       // cards have fewer places
)

// flowSpec is struct ethtool_rx_flow_spec.
type flowSpec struct {
	kind     uint32
	value    [52]byte
	_        [20]byte
	mask     [52]byte
	_        [20]byte
	queue    uint64
	location uint32
}

// rxnfc is struct ethtool_rxnfc with room for the numbers of rules.
type rxnfc struct {
	cmd, kind uint32
	data      uint64
	spec      flowSpec
	count     uint32
	places    [mostRule]uint32
}

// rule is what a flow specification means, if it is about UDP to one port.
func (s *flowSpec) rule() (r rule, ok bool) {
	at := 0
	switch s.kind {
	case flowUDP4:
		at = port4At
	case flowUDP6:
		at, r.v6 = port6At, true
	default:
		return r, false
	}
	r.port, r.queue = binary.BigEndian.Uint16(s.value[at:]), s.queue
	return r, binary.BigEndian.Uint16(s.mask[at:]) == 0xffff
}

// steeringRules lists a device's rules about UDP to a port. It returns unix.EOPNOTSUPP if the device has none and takes none.
func steeringRules(iface string) (list []rule, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	all := &rxnfc{cmd: unix.ETHTOOL_GRXCLSRLCNT}
	if err := ethtool(fd, iface, unsafe.Pointer(all)); err != nil {
		return nil, err
	}
	all.cmd, all.count = unix.ETHTOOL_GRXCLSRLALL, min(all.count, mostRule)
	if err := ethtool(fd, iface, unsafe.Pointer(all)); err != nil {
		return nil, err
	}
	for _, place := range all.places[:min(all.count, mostRule)] {
		one := &rxnfc{cmd: unix.ETHTOOL_GRXCLSRULE, spec: flowSpec{location: place}}
		if err := ethtool(fd, iface, unsafe.Pointer(one)); err != nil {
			return nil, err
		}
		if r, ok := one.spec.rule(); ok {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b rule) int { return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.String(), b.String())) })
	return list, nil
}

// probeSteering says whether a flood of a service has receive queues of its own: else it fills those that everything else
// comes in by.
func probeSteering(dev *net.Interface) Finding {
	list, err := steeringRules(dev.Name)
	return steering(dev.Name, list, err)
}

func steering(iface string, list []rule, err error) Finding {
	f := Finding{Name: "flow steering"}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		f.Text = iface + " has none: during a flood above what the guard takes, everything that comes in by this interface is lost in proportion"
	case err != nil:
		f.Level, f.Text = Warn, fmt.Sprintf("the rules of %s cannot be read: %v", iface, err)
		f.Hint = "ethtool -n " + iface
	case len(list) == 0:
		f.Text = fmt.Sprintf("%s can, and no UDP port has a queue of its own: ethtool -N %s flow-type udp4 dst-port PORT action QUEUE keeps a flood out of the others' queues", iface, iface)
	default:
		names := make([]string, len(list))
		for i, r := range list {
			names[i] = r.String()
		}
		f.Text = strings.Join(names, ", ")
	}
	return f
}
