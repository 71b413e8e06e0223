package udpbatch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Queue collects datagrams for one sendmmsg.
type Queue struct {
	// DontFragment keeps what is sent over IPv4 in one piece, here and on its way. A datagram that may be fragmented needs
	// an identification (RFC 6864 section 4), and drawing it is a tenth of what sending a small one costs.
	DontFragment bool
	// Confirm makes each Send do what [Conn.Confirm] says.
	Confirm bool

	hdrs []mmsghdr
	iovs []unix.Iovec
	n    int
	size int
}

// NewQueue makes a queue for at most size datagrams.
func NewQueue(size int) *Queue {
	q := &Queue{hdrs: make([]mmsghdr, size), iovs: make([]unix.Iovec, size)}
	for i := range q.hdrs {
		q.hdrs[i].hdr.Iov = &q.iovs[i]
		q.hdrs[i].hdr.SetIovlen(1)
	}
	return q
}

// Len is the number of datagrams waiting.
func (q *Queue) Len() int { return q.n }

// Bytes is how much they hold together.
func (q *Queue) Bytes() int { return q.size }

// Cap is the most datagrams that can wait.
func (q *Queue) Cap() int { return len(q.hdrs) }

// Reset forgets what is waiting.
func (q *Queue) Reset() { q.n, q.size = 0, 0 }

// Add appends datagram d, to go along to; nil means the peer that the socket is connected to. Both must stay
// as they are until the queue is sent. The caller keeps to the capacity.
func (q *Queue) Add(d []byte, to *Route) {
	v := &q.iovs[q.n]
	v.Base = unsafe.SliceData(d)
	v.SetLen(len(d))
	h := &q.hdrs[q.n].hdr
	h.Name, h.Namelen, h.Control = nil, 0, nil
	h.SetControllen(0)
	if to != nil {
		h.Name = (*byte)(unsafe.Pointer(&to.name))
		h.Namelen = to.size()
		if to.pinned {
			h.Control = &to.local[0]
			h.SetControllen(controlSize)
		}
	}
	q.n++
	q.size += len(d)
}
