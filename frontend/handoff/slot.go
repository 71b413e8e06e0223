package handoff

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Slot is what is known of one port of a pool: the cookie that the server gives it, whether somebody has it, and for
// which handshake it was last reserved. It is 64 bytes, a cache line, and laid out as struct slot of the
// XDP programs, which look into the same memory where they answer.
//
// Cookies are written by the one goroutine that harvests, and read by workers and programs at the same time. Who
// reads one while it is replaced may get a mixture, which is no cookie of the server: that client gets another
// answer, as do all whose cookies the server has just made void.
type Slot struct {
	cookie   [4]atomic.Uint64 // its first 32 bytes, zeroes behind its end
	length   atomic.Uint32    // 0: the cookie is not known
	taken    atomic.Uint32    // 1: somebody has the port
	reserved atomic.Uint64    // since when, by the table's clock, and below 32 bits for whom
	rest     [2]atomic.Uint64 // of a cookie that is longer: only workers give those
}

// Table is the memory of a pool.
type Table struct {
	Slots []Slot
	Clock *atomic.Uint32 // seconds, moved on by the daemon; tables may share it
}

// NewTable makes a table in memory of this process.
func NewTable(ports int) Table { return Table{make([]Slot, ports), new(atomic.Uint32)} }

// SlotsOf takes mapped memory, which is aligned to pages, for slots.
func SlotsOf(memory []byte) []Slot {
	return unsafe.Slice((*Slot)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/int(unsafe.Sizeof(Slot{})))
}

// usable reports whether a client can be given the cookie now: it is known, or computed, and nobody has the port.
func (s *Slot) usable(computed bool) bool { return (computed || s.known()) && s.taken.Load() == 0 }

func (s *Slot) known() bool { return s.length.Load() != 0 }

// set makes c, of at most hello.MaxCookie bytes, the slot's cookie, and reports whether none was known.
func (s *Slot) set(c []byte) (fresh bool) {
	var b [hello.MaxCookie]byte
	n := copy(b[:], c)
	fresh = s.length.Swap(0) == 0
	for i := range s.cookie {
		s.cookie[i].Store(binary.NativeEndian.Uint64(b[8*i:]))
	}
	for i := range s.rest {
		s.rest[i].Store(binary.NativeEndian.Uint64(b[8*(len(s.cookie)+i):]))
	}
	s.length.Store(uint32(n))
	return fresh
}

// forget makes the cookie unknown, and reports whether it was known.
func (s *Slot) forget() bool { return s.length.Swap(0) != 0 }

// reservation is how many of the clock's seconds a port is kept for a client: one more than [GraceTime], since the first
// may be nearly over.
const reservation = 5

// reserve keeps the port for holder, unless it is kept for another one. It reports whether it is holder's.
func (s *Slot) reserve(holder, now uint32) bool {
	old := s.reserved.Load()
	if uint32(old) == holder {
		return true
	}
	return !s.kept(now) && s.reserved.CompareAndSwap(old, uint64(now)<<32|uint64(holder))
}

// kept reports whether the port is kept for anybody.
func (s *Slot) kept(now uint32) bool { return now-uint32(s.reserved.Load()>>32) < reservation }

// heldBy reports whether the port was last reserved for holder. It does not matter when: somebody else who needs the
// port takes it over.
func (s *Slot) heldBy(holder uint32) bool { return uint32(s.reserved.Load()) == holder }

// get copies the cookie and returns its length, 0 if it is not known.
func (s *Slot) get(to *[hello.MaxCookie]byte) int {
	for i := range s.cookie {
		binary.NativeEndian.PutUint64(to[8*i:], s.cookie[i].Load())
	}
	for i := range s.rest {
		binary.NativeEndian.PutUint64(to[8*(len(s.cookie)+i):], s.rest[i].Load())
	}
	return int(s.length.Load())
}
