package handoff

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Entry is one address and port of a pool: the server's cookie for it, whether it is in use, and the handshake that last
// reserved it. It is 64 bytes, a cache line, laid out as struct pool_entry of the XDP programs, which share the memory.
//
// The goroutine that harvests writes cookies while workers and programs read them. A cookie read during replacement may
// be a mixture, which the server does not know: that client gets another answer, like all clients whose cookies the
// server has just invalidated.
type Entry struct {
	cookie   [4]atomic.Uint64 // its first 32 bytes, padded with zeroes
	length   atomic.Uint32    // 0: no cookie is known
	taken    atomic.Uint32    // takenByFlow or takenByOther; 0: the address is free
	reserved atomic.Uint64    // upper 32 bits: since when, by the table's clock; lower: for whom
	rest     [2]atomic.Uint64 // of a longer cookie, which only workers offer
}

// Table is the memory of a pool.
type Table struct {
	Entries []Entry
	Clock   *atomic.Uint32 // seconds, advanced by the daemon; tables may share it
}

// NewTable makes a table of n entries in this process's memory.
func NewTable(n int) Table { return Table{make([]Entry, n), new(atomic.Uint32)} }

// EntriesOf returns page-aligned mapped memory as entries.
func EntriesOf(memory []byte) []Entry {
	return unsafe.Slice((*Entry)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/int(unsafe.Sizeof(Entry{})))
}

// usable reports whether a client can get the cookie now: it is known, or computed, and nobody uses the address.
func (e *Entry) usable(computed bool) bool { return (computed || e.known()) && e.taken.Load() == 0 }

func (e *Entry) known() bool { return e.length.Load() != 0 }

// set stores c, of at most hello.MaxCookie bytes, as the entry's cookie, and reports whether none was known.
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

// reservation is how many of the clock's seconds an entry stays reserved: one more than [GraceTime], since the first
// second may be nearly over.
const reservation = 5

// reserve reserves the entry for holder, unless another one has reserved it, and reports whether holder has it.
func (e *Entry) reserve(holder, now uint32) bool {
	old := e.reserved.Load()
	if uint32(old) == holder {
		return true
	}
	return !e.kept(now) && e.reserved.CompareAndSwap(old, uint64(now)<<32|uint64(holder))
}

// kept reports whether the entry is reserved.
func (e *Entry) kept(now uint32) bool { return now-uint32(e.reserved.Load()>>32) < reservation }

// heldBy reports whether holder was the last to reserve the entry, at any time: another handshake that needs the entry
// takes it over.
func (e *Entry) heldBy(holder uint32) bool { return uint32(e.reserved.Load()) == holder }

// get copies the cookie and returns its length, 0 if none is known.
func (e *Entry) get(to *[hello.MaxCookie]byte) int {
	for i := range e.cookie {
		binary.NativeEndian.PutUint64(to[8*i:], e.cookie[i].Load())
	}
	for i := range e.rest {
		binary.NativeEndian.PutUint64(to[8*(len(e.cookie)+i):], e.rest[i].Load())
	}
	return int(e.length.Load())
}
