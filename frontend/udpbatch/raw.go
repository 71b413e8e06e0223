package udpbatch

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// RawSockets send UDP datagrams from ports that other sockets have: one socket for IPv4 and one for IPv6 (raw(7), of
// IPPROTO_RAW, which receives nothing). The kernel routes what they send, and the firewall's output chains see it.
type RawSockets struct {
	fd4, fd6 int
}

// OpenRaw opens raw sockets with a send buffer of so many bytes, 0 for the system's default. It needs CAP_NET_RAW, which
// sending does not.
func OpenRaw(sendBuffer int) (*RawSockets, error) {
	s := &RawSockets{-1, -1}
	var err error
	for _, f := range []struct {
		family int
		fd     *int
	}{{unix.AF_INET, &s.fd4}, {unix.AF_INET6, &s.fd6}} {
		if *f.fd, err = unix.Socket(f.family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
			*f.fd = -1
			if f.family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
				break // there is no IPv6
			}
			s.Close()
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
				return nil, hint.Add(fmt.Errorf("open a raw socket: %w", err), "run as root or with CAP_NET_RAW")
			}
			return nil, fmt.Errorf("open a raw socket: %w", err)
		}
		if sendBuffer > 0 && unix.SetsockoptInt(*f.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer) != nil {
			_ = unix.SetsockoptInt(*f.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
		}
	}
	return s, nil
}

// Close closes the sockets.
func (s *RawSockets) Close() {
	for _, fd := range []*int{&s.fd4, &s.fd6} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

const (
	ipv4Header = 20
	ipv6Header = 40
	udpHeader  = 8
	hopLimit   = 64 // of RFC 1700, and of XDP's answers
)

// family is what one socket sends at a time.
type family struct {
	fd   int
	hdrs []mmsghdr
	n    int
}

// RawSender sends queues from one port, by sockets that several senders may share. It belongs to one worker.
type RawSender struct {
	from   [16]byte // source where a route names none; zero: none
	port   uint16
	v4, v6 family
	heads  [][ipv6Header + udpHeader]byte
	iovs   [][2]unix.Iovec
	names4 []unix.RawSockaddrInet4
	names6 []unix.RawSockaddrInet6
	// Control messages with the source that routing goes by.
	info4 [][]byte          // IP_PKTINFO
	info6 [controlSize]byte // IPV6_PKTINFO of from
}

// NewSender makes a sender for queues of at most size datagrams, from an address and port of this host. Where the address is
// a wildcard, the routes of the datagrams name their sources.
func (s *RawSockets) NewSender(from netip.AddrPort, size int) *RawSender {
	r := &RawSender{
		port: from.Port(), v4: family{fd: s.fd4, hdrs: make([]mmsghdr, size)}, v6: family{fd: s.fd6, hdrs: make([]mmsghdr, size)},
		heads: make([][ipv6Header + udpHeader]byte, size), iovs: make([][2]unix.Iovec, size),
		names4: make([]unix.RawSockaddrInet4, size), names6: make([]unix.RawSockaddrInet6, size), info4: make([][]byte, size),
	}
	if a := from.Addr(); !a.IsUnspecified() {
		r.from = a.As16()
		route := NewRoute(from)
		route.From(r.from)
		r.info6 = route.local
	}
	for i := range size {
		r.names4[i].Family = unix.AF_INET
		r.info4[i] = make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&r.info4[i][0]))
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		for _, f := range []*family{&r.v4, &r.v6} {
			f.hdrs[i].hdr.SetIovlen(2)
		}
	}
	return r
}

// Send does what [Conn.Send] does. Datagrams without a source or a peer are skipped. Nothing is fragmented.
func (r *RawSender) Send(q *Queue) (sent int, err error) {
	r.v4.n, r.v6.n = 0, 0
	for i := range q.n {
		r.add(i, &q.hdrs[i].hdr, &q.iovs[i])
	}
	q.n, q.size = 0, 0
	for _, f := range []*family{&r.v4, &r.v6} {
		n, e := sendAll(f.fd, f.hdrs[:f.n], 0)
		sent += n
		if e != nil {
			err = e
		}
	}
	return sent, err
}

// add makes datagram i of the queue one of its family's.
func (r *RawSender) add(i int, h *unix.Msghdr, payload *unix.Iovec) {
	if h.Name == nil {
		return
	}
	name := (*unix.RawSockaddrInet6)(unsafe.Pointer(h.Name))
	to, port := name.Addr, ntohs(name.Port)
	if name.Family == unix.AF_INET { // of a route of a socket of IPv4
		n := (*unix.RawSockaddrInet4)(unsafe.Pointer(h.Name))
		to = [16]byte{10: 0xff, 11: 0xff, 12: n.Addr[0], 13: n.Addr[1], 14: n.Addr[2], 15: n.Addr[3]}
		port = ntohs(n.Port)
	}
	from := &r.from
	if h.Control != nil {
		from = &(*unix.Inet6Pktinfo)(unsafe.Pointer(&unsafe.Slice(h.Control, controlSize)[unix.SizeofCmsghdr])).Addr
	}
	if *from == ([16]byte{}) {
		return
	}
	head, iov := &r.heads[i], &r.iovs[i]
	d := unsafe.Slice(payload.Base, payload.Len)
	mapped := netip.AddrFrom16(to).Is4In6()
	f, size := &r.v6, ipv6Header+udpHeader
	if mapped {
		f, size = &r.v4, ipv4Header+udpHeader
	}
	m := &f.hdrs[f.n].hdr
	if mapped {
		putIPv4(head[:], from, &to, udpHeader+len(d))
		r.names4[i].Addr = [4]byte(to[12:])
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&r.names4[i])), unix.SizeofSockaddrInet4
		info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&r.info4[i][unix.CmsgLen(0)]))
		info.Spec_dst = [4]byte(from[12:])
		m.Control = &r.info4[i][0]
		m.SetControllen(len(r.info4[i]))
	} else {
		putIPv6(head[:], from, &to, udpHeader+len(d))
		r.names6[i] = *name
		r.names6[i].Port = 0 // a raw socket's is the protocol
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&r.names6[i])), unix.SizeofSockaddrInet6
		m.Control = cmp.Or(h.Control, &r.info6[0])
		m.SetControllen(controlSize)
	}
	putUDP(head[size-udpHeader:size], from, &to, r.port, port, d)
	iov[0].Base = &head[0]
	iov[0].SetLen(size)
	iov[1] = *payload
	m.Iov = &iov[0]
	f.n++
}

// putIPv4 writes a header without its checksum, which the kernel adds. Datagrams that are not fragmented need no
// identification (RFC 6864), and the kernel draws one in place of 0, at some cost.
func putIPv4(b []byte, from, to *[16]byte, size int) {
	b[0], b[1] = 0x45, 0
	binary.BigEndian.PutUint16(b[2:], uint16(ipv4Header+size))
	binary.BigEndian.PutUint32(b[4:], 1<<16|0x4000) // identification 1, don't fragment
	binary.BigEndian.PutUint32(b[8:], hopLimit<<24|unix.IPPROTO_UDP<<16)
	copy(b[12:16], from[12:])
	copy(b[16:20], to[12:])
}

func putIPv6(b []byte, from, to *[16]byte, size int) {
	binary.BigEndian.PutUint32(b, 6<<28)
	binary.BigEndian.PutUint32(b[4:], uint32(size)<<16|unix.IPPROTO_UDP<<8|hopLimit)
	copy(b[8:24], from[:])
	copy(b[24:40], to[:])
}

// putUDP writes the header of a datagram, with the checksum over it, the pseudo header and d.
func putUDP(b []byte, from, to *[16]byte, sport, dport uint16, d []byte) {
	size := udpHeader + len(d)
	binary.BigEndian.PutUint32(b, uint32(sport)<<16|uint32(dport))
	binary.BigEndian.PutUint32(b[4:], uint32(size)<<16)
	// v4-mapped addresses add ffff twice, which does not change the sum.
	sum := add(add(add(add(uint64(size+unix.IPPROTO_UDP), from[:]), to[:]), b), d)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	check := ^uint16(sum)
	if check == 0 {
		check = 0xffff // 0 would mean that there is no checksum (RFC 768)
	}
	binary.BigEndian.PutUint16(b[6:], check)
}

// add adds b, padded to whole words, to a ones' complement sum (RFC 1071).
func add(sum uint64, b []byte) uint64 {
	var carry uint64
	for ; len(b) >= 8; b = b[8:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), 0)
		sum += carry
	}
	var rest [8]byte
	copy(rest[:], b)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(rest[:]), 0)
	return sum + carry
}
