package bpf

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// rxVLAN is the feature by which a device removes a packet's VLAN tag and reports it in metadata. XDP then sees the packet
// untagged, whatever its network, and answers it untagged.
const rxVLAN = "rx-vlan-hw-parse"

// probeTags warns about VLANs on an interface whose driver hides their tags.
func probeTags(dev *net.Interface) []Finding {
	tagged, err := vlansOn(dev.Index)
	if err != nil || len(tagged) == 0 {
		return nil
	}
	hidden, err := feature(dev.Name, rxVLAN)
	switch {
	case err != nil:
		return []Finding{{"VLAN tags", Warn, fmt.Sprintf("%v is on %s, and it is unknown whether the driver hides tags: %v", tagged, dev.Name, err),
			fmt.Sprintf("ethtool -K %s rxvlan off", dev.Name)}}
	case hidden:
		return []Finding{{"VLAN tags", Warn, fmt.Sprintf("%v is on %s, whose driver removes tags before XDP sees a packet (rx-vlan-offload): answers in native mode are untagged, and in generic mode unless the card puts the tag back (tx-vlan-offload)", tagged, dev.Name),
			fmt.Sprintf("ethtool -K %s rxvlan off", dev.Name)}}
	}
	return []Finding{{Name: "VLAN tags", Text: fmt.Sprintf("seen by XDP, for %v", tagged)}}
}

// vlansOn returns the names of the VLAN devices on an interface.
func vlansOn(ifindex int) (names []string, err error) {
	links, err := netlink.LinkList()
	for _, l := range links {
		if l.Type() == "vlan" && l.Attrs().ParentIndex == ifindex {
			names = append(names, l.Attrs().Name)
		}
	}
	return names, err
}

// featureNames is ETH_SS_FEATURES of linux/ethtool.h.
const featureNames = 4

// feature reports whether a feature of a device is on (linux/ethtool.h, net/ethtool/common.c).
func feature(iface, name string) (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	var info struct {
		cmd, reserved uint32
		mask          uint64
		count         uint32
	}
	info.cmd, info.mask = unix.ETHTOOL_GSSET_INFO, 1<<featureNames
	if err := ethtool(fd, iface, unsafe.Pointer(&info)); err != nil {
		return false, err
	}
	const size, most = 32, 256 // ETH_GSTRING_LEN; kernels have fewer features
	var names struct {
		cmd, set, count uint32
		name            [most][size]byte
	}
	names.cmd, names.set, names.count = unix.ETHTOOL_GSTRINGS, featureNames, info.count
	var on struct {
		cmd, words uint32
		word       [most / 32]struct{ available, requested, active, never uint32 }
	}
	on.cmd, on.words = unix.ETHTOOL_GFEATURES, (info.count+31)/32
	if info.count > most {
		return false, fmt.Errorf("%d features", info.count)
	}
	if err := errors.Join(ethtool(fd, iface, unsafe.Pointer(&names)), ethtool(fd, iface, unsafe.Pointer(&on))); err != nil {
		return false, err
	}
	for i := range names.count {
		if unix.ByteSliceToString(names.name[i][:]) == name {
			return on.word[i/32].active>>(i%32)&1 == 1, nil
		}
	}
	return false, fmt.Errorf("no feature %s", name)
}

// ethtool makes one request of ioctl SIOCETHTOOL.
func ethtool(fd int, iface string, request unsafe.Pointer) error {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of a union
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], iface)
	ifr.data = request
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr))); errno != 0 {
		return errno
	}
	return nil
}
