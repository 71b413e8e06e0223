package bpf

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Slots are a service's part of the table of harvested cookies: memory that the programs read while the daemon
// writes it. The zero Slots are none.
type Slots struct {
	// Memory of 64 bytes a slot, zero at first, laid out as struct slot of types.h. It must not be used after
	// Guard.Close.
	Memory []byte
	// Clock of reservations, in seconds, for the daemon to move on; of all services together.
	Clock *atomic.Uint32

	first, number uint32
}

// First are the first n of them, where no more are in use.
func (s Slots) First(n int) Slots {
	s.number = min(s.number, uint32(n))
	return s
}

// slotSize is that of struct slot.
const slotSize = int(unsafe.Sizeof(guardSlot{}))

// NewSlots takes n slots of the table's Options.Slots. There is no way to give them back.
func (g *Programs) NewSlots(n int) (Slots, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	left := len(g.slotMemory) / slotSize
	switch {
	case g.control == nil:
		return Slots{}, ErrClosed
	case n < 1 || n > left:
		return Slots{}, fmt.Errorf("take %d slots for harvested cookies: %d are left", n, left)
	}
	s := Slots{
		Memory: g.slotMemory[: n*slotSize : n*slotSize], Clock: (*atomic.Uint32)(unsafe.Pointer(&g.control.Clock)),
		first: g.maps.Harvested.MaxEntries() - uint32(left), number: uint32(n),
	}
	g.slotMemory = g.slotMemory[n*slotSize:]
	return s, nil
}
