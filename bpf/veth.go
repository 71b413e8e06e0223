package bpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Why a veth may swallow every answer: it delivers what is sent with XDP_TX only where its other end has a native XDP
// program (veth_xdp_flush of drivers/net/veth.c).
const vethPeerHint = "command run with setting answer workers, or any native XDP program on the other end, one that passes everything, too"

// ErrNoPeerXDP says that an interface's answers by XDP would be lost, or may be.
var ErrNoPeerXDP = errors.New("a veth delivers answers by XDP only if its other end has a native XDP program")

// AnswersArrive is nil if what is sent back from XDP on an interface of this network namespace leaves it; of a veth that
// depends on its other end. Where that cannot be seen the error says so, and is ErrNoPeerXDP, too.
func AnswersArrive(iface string) error {
	dev, err := netlink.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("look at %s: %w", iface, err)
	}
	if dev.Type() != "veth" {
		return nil
	}
	native, err := peerHasXDP(dev)
	switch {
	case err != nil:
		return &hinted{fmt.Errorf("%w, and that of %s cannot be seen from here: %v", ErrNoPeerXDP, iface, err), vethPeerHint} //nolint:errorlint // no matter which
	case !native:
		return &hinted{fmt.Errorf("%w, and that of %s has none", ErrNoPeerXDP, iface), vethPeerHint}
	}
	return nil
}

// MovesPackets reports whether packets of an interface may be moved to another CPU by a CPU map. It takes a packet's bytes
// without what the sender left to the device, and a sender on the same host leaves its checksums to a veth: the stack
// would drop each of its packets for a wrong one. A wire's are complete, and generic mode moves the packet itself.
func MovesPackets(iface string) bool { return ethtoolDriver(iface) != "veth" }

// peerHasXDP asks for the other end of a veth, in whatever network namespace it is.
func peerHasXDP(dev netlink.Link) (bool, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	peer := nl.NewIfInfomsg(unix.AF_UNSPEC)
	peer.Index = int32(dev.Attrs().ParentIndex) // of a veth, its peer's
	request.AddData(peer)
	if ns := dev.Attrs().NetNsID; ns >= 0 {
		request.AddData(nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(ns))))
	}
	messages, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		if a := linkXDP(m); a.XDP != 0 {
			return a.Native, nil
		}
	}
	return false, nil
}

// VethPeer is the name of the finding that says whether answers by XDP leave a veth.
const VethPeer = "veth peer"

// probePeer is the finding of AnswersArrive.
func probePeer(dev *net.Interface) []Finding {
	err := AnswersArrive(dev.Name)
	switch {
	case err == nil && ethtoolDriver(dev.Name) != "veth":
		return nil
	case err == nil:
		return []Finding{{Name: VethPeer, Text: "has a native XDP program: answers by XDP_TX arrive"}}
	}
	return []Finding{{VethPeer, Warn, err.Error() + ": XDP_TX would be lost", vethPeerHint}}
}
