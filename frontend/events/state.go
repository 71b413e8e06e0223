package events

import (
	"encoding/json"
	"time"
)

// State is a Channel for the process that continues it, as JSON.
type State struct {
	Last   uint64            `json:"last"`
	Counts map[string]uint64 `json:"counts"` // by kind
	Kept   []keptEvent       `json:"kept"`
}

type keptEvent struct {
	Number  uint64       `json:"number"`
	Time    time.Time    `json:"time"`
	Kind    string       `json:"kind"`
	Service string       `json:"service,omitempty"`
	Details []keptDetail `json:"details,omitempty"`
}

type keptDetail struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// State returns the channel's state.
func (c *Channel) State() *State {
	counts, last := c.Counts(), c.Last()
	list, _, _ := c.After(0)
	s := &State{Last: last, Counts: make(map[string]uint64)}
	for k, n := range counts {
		s.Counts[Kind(k).String()] = n
	}
	for _, e := range list {
		kept := keptEvent{Number: e.Number, Time: e.Time, Kind: e.Kind.String(), Service: e.Service}
		for _, d := range e.Details {
			if v, err := json.Marshal(d.Value); err == nil {
				kept.Details = append(kept.Details, keptDetail{d.Key, v})
			}
		}
		s.Kept = append(s.Kept, kept)
	}
	return s
}

// Continue inserts the events of an earlier process before this one's. Kinds that this one does not know are
// left out.
func (c *Channel) Continue(s *State) {
	if s == nil {
		return
	}
	byName := make(map[string]Kind)
	for k := range KindLen {
		byName[k.String()] = k
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var own []Event
	for n := c.last - min(c.last, Size); n < c.last; n++ {
		own = append(own, c.ring[(n+1)%Size])
	}
	for _, e := range s.Kept {
		k, known := byName[e.Kind]
		if !known || e.Number > s.Last {
			continue
		}
		event := Event{Number: e.Number, Time: e.Time, Kind: k, Service: e.Service}
		for _, d := range e.Details {
			event.Details = append(event.Details, Detail{d.Key, d.Value})
		}
		c.ring[e.Number%Size] = event
	}
	for i := range own {
		own[i].Number = s.Last + 1 + uint64(i)
		c.ring[own[i].Number%Size] = own[i]
	}
	c.last += s.Last
	for name, n := range s.Counts {
		if k, known := byName[name]; known {
			c.counts[k] += n
		}
	}
	close(c.more)
	c.more = make(chan struct{})
}
