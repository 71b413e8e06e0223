package bpf

import (
	"fmt"
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

// NewPoolMemory hands out n of the table's Options.PoolEntries. They cannot be given back.
func (g *Programs) NewPoolMemory(n int) (PoolMemory, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := len(g.poolMemory) / entrySize
	switch {
	case g.control == nil:
		return PoolMemory{}, ErrClosed
	case n < 1 || n > left:
		return PoolMemory{}, fmt.Errorf("reserve %d entries for harvested cookies: %d are left", n, left)
	}
	m := PoolMemory{
		Memory: g.poolMemory[: n*entrySize : n*entrySize], Clock: (*atomic.Uint32)(unsafe.Pointer(&g.control.Clock)),
		first: g.maps.Harvested.MaxEntries() - uint32(left), number: uint32(n),
	}
	g.poolMemory = g.poolMemory[n*entrySize:]
	return m, nil
}
