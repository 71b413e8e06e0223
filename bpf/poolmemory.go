package bpf

import (
	"fmt"
	"slices"
	"sync/atomic"
	"unsafe"
)

// PoolMemory is one service's part of the table of harvested cookies: memory that the programs read while the daemon
// writes it. The zero PoolMemory is empty.
type PoolMemory struct {
	// Memory has 64 bytes per entry, zero at first, laid out as struct pool_entry of types.h. It must not be used after
	// Programs.Close.
	Memory []byte
	// Clock is the time of reservations in seconds, shared by all services. The daemon advances it.
	Clock *atomic.Uint32

	first, number uint32
}

// First returns the first n entries of m. The others must not be in use.
func (m PoolMemory) First(n int) PoolMemory {
	m.number = min(m.number, uint32(n))
	return m
}

const entrySize = int(unsafe.Sizeof(guardPoolEntry{}))

// poolRange is a part of the table that is in use.
type poolRange struct{ first, number int }

// NewPoolMemory hands out n of the table's Options.PoolEntries, until FreePoolMemory.
func (g *Programs) NewPoolMemory(n int) (PoolMemory, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return PoolMemory{}, ErrClosed
	}
	at, first, room := g.poolGap(n)
	if n < 1 || n > room {
		return PoolMemory{}, fmt.Errorf("reserve %d entries for harvested cookies: %d in a row are left", n, room)
	}
	g.pools = slices.Insert(g.pools, at, poolRange{first, n})
	end := (first + n) * entrySize
	return PoolMemory{
		Memory: g.poolMemory[first*entrySize : end : end], Clock: (*atomic.Uint32)(unsafe.Pointer(&g.control.Clock)),
		first: uint32(first), number: uint32(n),
	}, nil
}

// poolGap finds the first n entries in a row that are free, or else the longest row: where it is among the ranges in use, its first
// entry, and its length.
func (g *Programs) poolGap(n int) (at, first, room int) {
	from := 0
	for i := 0; i <= len(g.pools); i++ {
		end := len(g.poolMemory) / entrySize
		if i < len(g.pools) {
			end = g.pools[i].first
		}
		if end-from > room {
			at, first, room = i, from, end-from
		}
		if room >= n || i == len(g.pools) {
			break
		}
		from = end + g.pools[i].number
	}
	return at, first, room
}

// PoolRoom returns for how many entries in a row NewPoolMemory has room.
func (g *Programs) PoolRoom() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _, room := g.poolGap(len(g.poolMemory)/entrySize + 1)
	return room
}

// FreePoolMemory takes back what NewPoolMemory handed out, and clears it. No service may have it, and nobody may use it any more.
func (g *Programs) FreePoolMemory(m PoolMemory) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return // with the memory that it was part of
	}
	g.pools = slices.DeleteFunc(g.pools, func(r poolRange) bool { return r.first == int(m.first) })
	clear(m.Memory)
}
