package events

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Size is how many events a Channel keeps: a day of hourly attacks with a line per minute fits, besides rotations.
const Size = 2048

// Channel keeps events for readers. It is safe for concurrent use; a nil Channel ignores events.
type Channel struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex
	ring   [Size]Event
	last   uint64 // number of the newest
	counts [KindLen]uint64
	more   chan struct{} // closed by the next event
}

// New makes a Channel. Events that nobody else logs go to log.
func New(log *slog.Logger, now func() time.Time) *Channel {
	return &Channel{log: log, now: now, more: make(chan struct{})}
}

// Emit adds an event. Details are pairs of key and value, as slog takes them.
func (c *Channel) Emit(k Kind, service string, pairs ...any) {
	if c == nil {
		return
	}
	if m := &kinds[k]; m.message != "" {
		args := pairs
		if service != "" {
			args = append([]any{"service", service}, pairs...)
		}
		c.log.Log(context.Background(), m.level, m.message, args...)
	}
	e := Event{Time: c.now(), Kind: k, Service: service, Details: details(pairs)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	e.Number = c.last
	c.ring[e.Number%Size] = e
	c.counts[k]++
	close(c.more)
	c.more = make(chan struct{})
}

// Last is the number of the newest event, 0 if there was none.
func (c *Channel) Last() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// After returns the events after number n, how many of those are no longer kept, and a channel that is closed when there are more.
func (c *Channel) After(n uint64) (list []Event, missed uint64, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last > Size && n < c.last-Size {
		missed = c.last - Size - n
		n += missed
	}
	for ; n < c.last; n++ {
		list = append(list, c.ring[(n+1)%Size])
	}
	return list, missed, c.more
}

// Counts is the number of events by kind.
func (c *Channel) Counts() [KindLen]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}
