package handoff

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Slot is what is known of one port of a pool: the cookie that the server gives it, whether somebody has it, and
// when its cookie was last promised to a client. It is 64 bytes, a cache line, and laid out as struct slot of the
// XDP programs, which look into the same memory where they answer.
//
// Cookies are written by the one goroutine that harvests, and read by workers and programs at the same time. Who
// reads one while it is replaced may get a mixture, which is no cookie of the server: that client gets another
// answer, as do all whose cookies the server has just made void.
type Slot struct {
	cookie   [hello.MaxCookie / 8]atomic.Uint64 // zeroes behind its end
	length   atomic.Uint32                      // 0: the cookie is not known
	taken    atomic.Uint32                      // 1: somebody has the port
	promised atomic.Uint32                      // the turn at which a client was last given the cookie
	_        [5]uint32
}

// Table is the memory of a pool.
type Table struct {
	Slots []Slot
	Turn  *atomic.Uint32 // of promises; tables may share it
}

// NewTable makes a table in memory of this process.
func NewTable(size int) Table { return Table{make([]Slot, size), new(atomic.Uint32)} }

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
	s.length.Store(uint32(n))
	return fresh
}

// forget makes the cookie unknown.
func (s *Slot) forget() { s.length.Store(0) }

// get copies the cookie and returns its length, 0 if it is not known.
func (s *Slot) get(to *[hello.MaxCookie]byte) int {
	for i := range s.cookie {
		binary.NativeEndian.PutUint64(to[8*i:], s.cookie[i].Load())
	}
	return int(s.length.Load())
}
