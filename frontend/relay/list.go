package relay

import "math/bits"

// ranks of half-open flows: one list per magnitude of what their source has, and a single one from 128 on.
const ranks = 8

func rankOf(source, prefix uint32) int {
	return min(bits.Len32(max(source, prefix/PrefixFactor)), ranks-1)
}

// list is a doubly linked list of flows with a sentinel, newest first.
type list struct{ head Flow }

func (l *list) init() { l.head.prev, l.head.next = &l.head, &l.head }

func (l *list) front(f *Flow) {
	f.prev, f.next = &l.head, l.head.next
	f.prev.next, f.next.prev = f, f
}

func (f *Flow) unlink() {
	f.prev.next, f.next.prev = f.next, f.prev
	f.prev, f.next = nil, nil
}

// last is the least recently used flow, nil if there is none.
func (l *list) last() *Flow {
	if l.head.prev == &l.head {
		return nil
	}
	return l.head.prev
}
