package netpath

import (
	"math/rand/v2"
	"time"
)

// Conditions are those of a network, in each direction.
type Conditions struct {
	Seed      uint64        // runs with the same seed lose the same datagrams
	Loss      float64       // probability
	Duplicate float64       // probability of a second copy, which takes as long as the first
	Reorder   float64       // probability of a datagram taking twice as long, so that later ones overtake it
	Delay     time.Duration // of each datagram: half a round trip
	MTU       int           // IP packets that are larger are lost; 0: any size passes
}

// Headers of IP packets with UDP in them, without options (RFC 791, RFC 8200, RFC 768).
const (
	headers4 = 20 + 8
	headers6 = 40 + 8
)

// Decide is a function for [Start].
func (c *Conditions) Decide(d *Datagram) Fate {
	headers := headers4
	if d.Client.Addr().Unmap().Is6() {
		headers = headers6
	}
	if c.MTU > 0 && len(d.Data)+headers > c.MTU {
		return Drop
	}
	// Each datagram has its own random numbers, whatever happened to earlier ones and to other clients.
	stream := uint64(d.Ordinal)<<32 | uint64(d.Nth)<<1
	if d.FromClient {
		stream |= 1
	}
	random := rand.New(rand.NewPCG(c.Seed, stream))
	lost, twice, late := random.Float64() < c.Loss, random.Float64() < c.Duplicate, random.Float64() < c.Reorder
	delay := c.Delay
	if late {
		delay += max(c.Delay, time.Millisecond)
	}
	switch {
	case lost:
		return Drop
	case twice:
		return Fate{delay, delay}
	}
	return Fate{delay}
}
