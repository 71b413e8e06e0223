package udpbatch

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// MaxDatagram is the room for one datagram: a UDP datagram is at most 65507 bytes over IPv4 and 65527 over IPv6
// without jumbograms, so nothing is ever cut off.
const MaxDatagram = 1 << 16

// headSize is where a datagram is split. Heads lie side by side, because a batch on pages of its own
// for each datagram takes a tenth longer to receive. Longer ones than a link carries in one piece are put together in a slot
// of MaxDatagram. Slots are mapped, not allocated: a page that no datagram reaches costs nothing.
const headSize = 2048

// headStride is from head to head. Heads that begin at the same place of a page share few sets of the first-level cache,
// which a batch of 64 overflows; five lines further each, they spread over all of it.
const headStride = headSize + 5*64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// Route is the way back to the peer of a datagram: its address, and, where the socket is bound to a wildcard,
// the local address it was sent to, which must be the source of every answer. A plain value to keep or copy.
type Route struct {
	name   unix.RawSockaddrInet6 // or a RawSockaddrInet4
	local  [controlSize]byte     // an IPV6_PKTINFO control message
	pinned bool                  // local holds an address
}

// Peer is the address that the route leads to.
func (r *Route) Peer() Endpoint {
	if r.name.Family == unix.AF_INET {
		n := r.name4()
		e := Endpoint{Port: ntohs(n.Port)}
		e.IP[10], e.IP[11] = 0xff, 0xff
		copy(e.IP[12:], n.Addr[:])
		return e
	}
	return Endpoint{IP: r.name.Addr, Port: ntohs(r.name.Port), Zone: r.name.Scope_id}
}

func (r *Route) name4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.name))
}

// size is the length of name.
func (r *Route) size() uint32 {
	if r.name.Family == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// controlSize is room for the one control message that there is, an IPV6_PKTINFO.
const controlSize = 40

// Batch is a fixed number of slots for received datagrams.
type Batch struct {
	memory  []byte // heads, then slots
	slots   []byte
	hdrs    []mmsghdr
	iovs    [][2]unix.Iovec // of each head, and of the rest of its slot
	routes  []Route
	control [][controlSize]byte
	n       int
}

// NewBatch makes a batch of size slots; Close gives the memory back.
func NewBatch(size int) (*Batch, error) {
	heads := (size*headStride + os.Getpagesize() - 1) &^ (os.Getpagesize() - 1)
	memory, err := unix.Mmap(-1, 0, heads+size*MaxDatagram, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map %d KiB for a batch of %d datagrams: %w", (heads+size*MaxDatagram)>>10, size, err)
	}
	b := &Batch{
		memory: memory, slots: memory[heads:], hdrs: make([]mmsghdr, size), iovs: make([][2]unix.Iovec, size),
		routes: make([]Route, size), control: make([][controlSize]byte, size),
	}
	template := (&ipv6.ControlMessage{Src: make([]byte, 16), IfIndex: 1}).Marshal() // IfIndex: to get all of in6_pktinfo
	for i := range size {
		v := &b.iovs[i]
		v[0].Base, v[1].Base = &b.head(i)[0], &b.slot(i)[headSize]
		v[0].SetLen(headSize)
		v[1].SetLen(MaxDatagram - headSize)
		h := &b.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&b.routes[i].name))
		h.Iov = &v[0]
		h.SetIovlen(len(v))
		h.Control = &b.control[i][0]
		copy(b.routes[i].local[:], template)
	}
	return b, nil
}

// Close unmaps the slots. Nothing that the batch returned may be used afterwards.
func (b *Batch) Close() error { return unix.Munmap(b.memory) }

// Cap is the number of slots.
func (b *Batch) Cap() int { return len(b.hdrs) }

// Len is the number of slots filled since the last Reset.
func (b *Batch) Len() int { return b.n }

// Reset empties the batch.
func (b *Batch) Reset() { b.n = 0 }

// Datagram is what slot i holds.
func (b *Batch) Datagram(i int) []byte {
	n := int(b.hdrs[i].len)
	if n > headSize {
		return b.slot(i)[:n]
	}
	return b.head(i)[:n]
}

func (b *Batch) head(i int) []byte { return b.memory[i*headStride:][:headSize:headSize] }

func (b *Batch) slot(i int) []byte { return b.slots[i*MaxDatagram:][:MaxDatagram:MaxDatagram] }

// Route is the way back to the sender of slot i.
func (b *Batch) Route(i int) *Route { return &b.routes[i] }

// prepare makes slots from b.n on ready for recvmmsg, which overwrites the lengths.
func (b *Batch) prepare() {
	for i := b.n; i < len(b.hdrs); i++ {
		h := &b.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
	}
}

// received takes n new slots over: long datagrams are put together, and the local address of each goes into its route.
func (b *Batch) received(n int) {
	for i := b.n; i < b.n+n; i++ {
		if b.hdrs[i].len > headSize {
			copy(b.slot(i), b.head(i))
		}
		r := &b.routes[i]
		r.pinned = false
		data := b.control[i][:b.hdrs[i].hdr.Controllen]
		for len(data) >= unix.SizeofCmsghdr {
			c := (*unix.Cmsghdr)(unsafe.Pointer(&data[0]))
			size := int(c.Len)
			if size < unix.SizeofCmsghdr || size > len(data) {
				break
			}
			body := data[unix.SizeofCmsghdr:size]
			if c.Level == unix.IPPROTO_IPV6 && c.Type == unix.IPV6_PKTINFO && len(body) >= unix.SizeofInet6Pktinfo {
				r.pin((*unix.Inet6Pktinfo)(unsafe.Pointer(&body[0])))
			}
			data = data[min(unix.CmsgSpace(size-unix.SizeofCmsghdr), len(data)):]
		}
	}
	b.n += n
}

// pin makes info's address the source of answers. The interface is kept only where the address means nothing
// without it (link-local): elsewhere the routing table knows better which way an answer goes.
func (r *Route) pin(info *unix.Inet6Pktinfo) {
	out := (*unix.Inet6Pktinfo)(unsafe.Pointer(&r.local[unix.SizeofCmsghdr]))
	*out = *info
	if linkLocal := info.Addr[0] == 0xfe && info.Addr[1]&0xc0 == 0x80; !linkLocal {
		out.Ifindex = 0
	}
	r.pinned = true
}
