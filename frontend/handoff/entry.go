package handoff

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Entry is what is known of one address and port of a pool: the cookie that the server gives it, whether somebody has it, and
// for which handshake it was last reserved. It is 64 bytes, a cache line, and laid out as struct slot of the XDP programs,
// which look into the same memory where they answer.
//
// Cookies are written by the one goroutine that harvests, and read by workers and programs at the same time. Who
// reads one while it is replaced may get a mixture, which is not a cookie of the server: that client gets another
// answer, as do all whose cookies the server has just made void.
type Entry struct {
	cookie   [4]atomic.Uint64 // its first 32 bytes, zeroes behind its end
	length   atomic.Uint32    // 0: the cookie is not known
	taken    atomic.Uint32    // takenByFlow or takenByOther; 0: the address is free
	reserved atomic.Uint64    // since when, by the table's clock, and below 32 bits for whom
	rest     [2]atomic.Uint64 // of a cookie that is longer: only workers give those
}

// Table is the memory of a pool.
type Table struct {
	Entries []Entry
	Clock   *atomic.Uint32 // seconds, moved on by the daemon; tables may share it
}

// NewTable makes a table of n entries in memory of this process.
func NewTable(n int) Table { return Table{make([]Entry, n), new(atomic.Uint32)} }

// EntriesOf takes mapped memory, which is aligned to pages, for entries.
func EntriesOf(memory []byte) []Entry {
	return unsafe.Slice((*Entry)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/int(unsafe.Sizeof(Entry{})))
}

// usable reports whether a client can be given the cookie now: it is known, or computed, and nobody has the address.
func (e *Entry) usable(computed bool) bool { return (computed || e.known()) && e.taken.Load() == 0 }

func (e *Entry) known() bool { return e.length.Load() != 0 }

// set makes c, of at most hello.MaxCookie bytes, the entry's cookie, and reports whether none was known.
func (e *Entry) set(c []byte) (fresh bool) {
	var b [hello.MaxCookie]byte
	n := copy(b[:], c)
	fresh = e.length.Swap(0) == 0
	for i := range e.cookie {
		e.cookie[i].Store(binary.NativeEndian.Uint64(b[8*i:]))
	}
	for i := range e.rest {
		e.rest[i].Store(binary.NativeEndian.Uint64(b[8*(len(e.cookie)+i):]))
	}
	e.length.Store(uint32(n))
	return fresh
}

// forget makes the cookie unknown, and reports whether it was known.
func (e *Entry) forget() bool { return e.length.Swap(0) != 0 }

// reservation is how many of the clock's seconds an entry is kept for a client: one more than [GraceTime], since the first
// may be nearly over.
const reservation = 5

// reserve keeps the entry for holder, unless it is kept for another one. It reports whether it is holder's.
func (e *Entry) reserve(holder, now uint32) bool {
	old := e.reserved.Load()
	if uint32(old) == holder {
		return true
	}
	return !e.kept(now) && e.reserved.CompareAndSwap(old, uint64(now)<<32|uint64(holder))
}

// kept reports whether the entry is kept for anybody.
func (e *Entry) kept(now uint32) bool { return now-uint32(e.reserved.Load()>>32) < reservation }

// heldBy reports whether the entry was last reserved for holder. It does not matter when: somebody else who needs the
// entry takes it over.
func (e *Entry) heldBy(holder uint32) bool { return uint32(e.reserved.Load()) == holder }

// get copies the cookie and returns its length, 0 if it is not known.
func (e *Entry) get(to *[hello.MaxCookie]byte) int {
	for i := range e.cookie {
		binary.NativeEndian.PutUint64(to[8*i:], e.cookie[i].Load())
	}
	for i := range e.rest {
		binary.NativeEndian.PutUint64(to[8*(len(e.cookie)+i):], e.rest[i].Load())
	}
	return int(e.length.Load())
}
