package bpf

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// linkHeaders says per kind of device (ARPHRD_ of linux/if_arp.h) whether XDP sees frames with an Ethernet header. On the
// others they begin with IP.
var linkHeaders = map[uint16]bool{
	unix.ARPHRD_ETHER:    true,
	unix.ARPHRD_LOOPBACK: true,
	unix.ARPHRD_NONE:     false, // tun, wireguard, wwan
	unix.ARPHRD_PPP:      false,
	unix.ARPHRD_TUNNEL:   false, // ipip
	unix.ARPHRD_TUNNEL6:  false,
	unix.ARPHRD_SIT:      false,
	unix.ARPHRD_IPGRE:    false,
	unix.ARPHRD_IP6GRE:   false,
	unix.ARPHRD_RAWIP:    false,
}

// linkHeader reports whether the frames of an interface of this network namespace begin with an Ethernet header.
func linkHeader(iface string) (bool, error) {
	kind, err := deviceKind(iface)
	if err != nil {
		return false, err
	}
	header, ok := linkHeaders[kind]
	if !ok {
		return false, &hinted{fmt.Errorf("the programs do not know frames of this kind of device (ARPHRD %d) and would let them pass unchecked", kind),
			"use an interface with Ethernet or IP frames: ip -details link show " + iface}
	}
	return header, nil
}

func deviceKind(iface string) (uint16, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(iface)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return 0, err
	}
	return ifr.Uint16(), nil // sa_family of the address
}
