package scenario

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The functions of this file act on the network namespace of their thread.

// Commands and attributes of the generic netlink family netdev (include/uapi/linux/netdev.h).
const (
	napiGet = 11
	napiSet = 14

	napiIfindex  = 1
	napiID       = 2
	napiPID      = 4
	napiDefer    = 5
	napiTimeout  = 6
	napiThreaded = 8
)

// genl is a generic netlink header (struct genlmsghdr). The netlink package's lacks the reserved bytes and
// so sends the bytes after it, which newer commands refuse.
type genl uint8

// These methods implement nl.NetlinkRequestData: command, version 1, reserved bytes.
func (genl) Len() int { return nl.SizeofGenlmsg }

func (g genl) Serialize() []byte { return []byte{byte(g), 1, 0, 0} } //nolint:misspell // the interface's name

// threadedNAPI moves the packet processing of an interface to kernel threads and returns them. Only then
// can its cost be pinned to a CPU and be told from everything else there. Needs Linux 6.17.
func threadedNAPI(index int) ([]int, error) { return setNAPI(index, 0) }

// polledNAPI does the same and makes the threads poll by a timer. Otherwise the sender has to wake them up,
// which between two CPUs of a virtual machine costs as much as a dozen packets.
func polledNAPI(index int, every time.Duration) ([]int, error) { return setNAPI(index, every) }

// polls is the number of polls without a packet before the thread sleeps until woken up.
const emptyPolls = 100

func setNAPI(index int, every time.Duration) ([]int, error) {
	family, err := netlink.GenlFamilyGet("netdev")
	if err != nil {
		return nil, fmt.Errorf("find netlink family netdev: %w", err)
	}
	napis, err := listNAPI(family.ID, index)
	if err != nil {
		return nil, err
	}
	for _, n := range napis {
		req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
		req.AddData(genl(napiSet))
		req.AddData(nl.NewRtAttr(napiID, nl.Uint32Attr(n[napiID])))
		req.AddData(nl.NewRtAttr(napiThreaded, nl.Uint32Attr(1)))
		if every > 0 {
			req.AddData(nl.NewRtAttr(napiDefer, nl.Uint32Attr(emptyPolls)))
			req.AddData(nl.NewRtAttr(napiTimeout, nl.Uint32Attr(uint32(every)))) // in ns
		}
		if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
			return nil, fmt.Errorf("make NAPI %d a thread (since Linux 6.17): %w", n[napiID], err)
		}
	}
	if napis, err = listNAPI(family.ID, index); err != nil {
		return nil, err
	}
	var pids []int
	for _, n := range napis {
		if n[napiPID] == 0 {
			return nil, fmt.Errorf("NAPI %d has no thread", n[napiID])
		}
		pids = append(pids, int(n[napiPID]))
	}
	if pids == nil {
		return nil, fmt.Errorf("interface %d has no NAPI: neither a native XDP program nor GRO", index)
	}
	return pids, nil
}

// listNAPI returns the numeric attributes of each NAPI of an interface.
func listNAPI(family uint16, index int) ([]map[uint16]uint32, error) {
	req := nl.NewNetlinkRequest(int(family), unix.NLM_F_DUMP)
	req.AddData(genl(napiGet))
	req.AddData(nl.NewRtAttr(napiIfindex, nl.Uint32Attr(uint32(index))))
	messages, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return nil, fmt.Errorf("list NAPIs of interface %d: %w", index, err)
	}
	var all []map[uint16]uint32
	for _, m := range messages {
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
		if err != nil {
			return nil, fmt.Errorf("list NAPIs of interface %d: %w", index, err)
		}
		n := make(map[uint16]uint32)
		for _, a := range attrs {
			if len(a.Value) == 4 {
				n[a.Attr.Type] = binary.NativeEndian.Uint32(a.Value)
			}
		}
		all = append(all, n)
	}
	return all, nil
}

// Requests of include/uapi/linux/ethtool.h.
const (
	ethtoolSetTXSum    = 0x17
	ethtoolSetTSO      = 0x1f
	ethtoolSetGRO      = 0x2c
	ethtoolSetChannels = 0x3d
	ethtoolChannels    = 36 // size of struct ethtool_channels, and the offsets of its fields
	rxChannels         = 20
	txChannels         = 24
	ethtoolStrings     = 0x1b
	ethtoolStats       = 0x1d
	ethtoolStringSets  = 1 // ETH_SS_STATS
	ethtoolStringSize  = 32
	ethtoolMostStats   = 256 // a veth has some 20 for each queue
)

// ethtool makes an ioctl. data begins with the request's number and must contain no Go pointers.
func ethtool(device string, data []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of the union
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], device)
	ifr.data = unsafe.Pointer(&data[0])
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr))); errno != 0 {
		return errno
	}
	return nil
}

func setFeature(device string, request, on uint32) error {
	b := binary.NativeEndian.AppendUint32(nil, request)
	if err := ethtool(device, binary.NativeEndian.AppendUint32(b, on)); err != nil {
		return fmt.Errorf("set feature %#x of %s: %w", request, device, err)
	}
	return nil
}

// setQueues sets the number of receive and transmit queues of an end of a veth.
func setQueues(device string, n uint32) error {
	b := make([]byte, ethtoolChannels)
	binary.NativeEndian.PutUint32(b, ethtoolSetChannels)
	binary.NativeEndian.PutUint32(b[rxChannels:], n)
	binary.NativeEndian.PutUint32(b[txChannels:], n)
	if err := ethtool(device, b); err != nil {
		return fmt.Errorf("set %s to %d queues: %w", device, n, err)
	}
	return nil
}

// queued lets an interface put frames into its NAPI's ring without an XDP program, and also what the other end
// of its veth sends from sockets, if that end does no segmentation offload.
func queued(device string) error { return setFeature(device, ethtoolSetGRO, 1) }

// whole turns segmentation offload off.
func whole(device string) error { return setFeature(device, ethtoolSetTSO, 0) }

// summed makes sockets compute the checksums of what they send through an interface.
func summed(device string) error { return setFeature(device, ethtoolSetTXSum, 0) }

// statistics returns the driver's counters of an interface by name.
func statistics(device string) (map[string]uint64, error) {
	names := make([]byte, 12+ethtoolMostStats*ethtoolStringSize)
	binary.NativeEndian.PutUint32(names, ethtoolStrings)
	binary.NativeEndian.PutUint32(names[4:], ethtoolStringSets)
	if err := ethtool(device, names); err != nil {
		return nil, fmt.Errorf("names of counters of %s: %w", device, err)
	}
	values := make([]byte, 8+ethtoolMostStats*8)
	binary.NativeEndian.PutUint32(values, ethtoolStats)
	if err := ethtool(device, values); err != nil {
		return nil, fmt.Errorf("counters of %s: %w", device, err)
	}
	n := min(binary.NativeEndian.Uint32(names[8:]), ethtoolMostStats)
	stats := make(map[string]uint64, n)
	for i := range int(n) {
		name, _, _ := bytes.Cut(names[12+i*ethtoolStringSize:][:ethtoolStringSize], []byte{0})
		stats[string(name)] = binary.NativeEndian.Uint64(values[8+8*i:])
	}
	return stats, nil
}

// received is the number of packets that a veth's end has taken out of its rings, of any kind.
func received(device string) (uint64, error) {
	stats, err := statistics(device)
	if err != nil {
		return 0, err
	}
	var n uint64
	for name, v := range stats {
		var queue int
		if _, err := fmt.Sscanf(name, "rx_queue_%d_xdp_packets", &queue); err == nil {
			n += v
		}
	}
	return n, nil
}

func interfaceNamed(name string) (*net.Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return i, nil
}
