package bpf

import (
	"fmt"
	"time"
)

// Counters count the packets of one service, or of all services and of none, since the maps were created. The indices are
// Verdict, hello.Reason, CookieState, EgressOutcome, SocketChoice and IngressOutcome. Bytes are of UDP payload, as packets' headers say.
type Counters struct {
	Verdict     [VerdictLen]uint64
	Bytes       [VerdictLen]uint64 // of the packets of each verdict
	AnswerBytes uint64             // of what XDP sent itself
	Reason      [reasonLen]uint64
	Cookie      [CookieLen]uint64
	Egress      [EgressLen]uint64
	EgressBytes [EgressLen]uint64 // of the packets of each outcome
	Socket      [SocketLen]uint64
	Ingress     [IngressLen]uint64
	Handshakes  [HandshakeBuckets]uint64 // inline, by HandshakeTime
}

// Numbers of consts.h: HandshakeBuckets is the length of Counters.Handshakes.
const (
	HandshakeBuckets = 80
	handshakeStep    = 1 << 14 // ns
)

// HandshakeTime is the middle of a bucket of Counters.Handshakes, an eighth off at most, but for the last, which has all that took
// more than 30 s.
func HandshakeTime(bucket int) time.Duration {
	if bucket < 4 {
		return handshakeStep * (2*time.Duration(bucket) + 1) / 2
	}
	log := bucket/4 - 1
	return handshakeStep * (2*time.Duration(4+bucket%4) + 1) << log / 2
}

// Packets is the number of packets at ingress.
func (c *Counters) Packets() (n uint64) {
	for _, v := range c.Verdict {
		n += v
	}
	return n
}

func (c *Counters) add(o *guardCounters) {
	for i := range c.Verdict {
		c.Verdict[i] += o.Verdict[i].Packets
		c.Bytes[i] += o.Verdict[i].Bytes
	}
	c.AnswerBytes += o.AnswerBytes
	for i := range c.Reason {
		c.Reason[i] += o.Reason[i]
	}
	for i := range c.Cookie {
		c.Cookie[i] += o.Cookie[i]
	}
	for i := range c.Egress {
		c.Egress[i] += o.Egress[i].Packets
		c.EgressBytes[i] += o.Egress[i].Bytes
	}
	for i := range c.Socket {
		c.Socket[i] += o.Socket[i]
	}
	for i := range c.Ingress {
		c.Ingress[i] += o.Ingress[i]
	}
}

// Counters returns the sum over all services, with packets to no service.
func (g *Programs) Counters() (Counters, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var sum Counters
	for i := range g.services {
		if g.services[i].used || g.services[i].counted {
			if err := g.addCounters(&sum, uint32(i)); err != nil {
				return Counters{}, err
			}
		}
	}
	return sum, g.addCounters(&sum, uint32(len(g.services)))
}

// ServiceCounters returns the counters of one service.
func (g *Programs) ServiceCounters(k ServiceKey) (Counters, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var c Counters
	i, ok := g.find(k)
	if !ok {
		return c, fmt.Errorf("read counters of %v: %w", k, ErrNoService)
	}
	err := g.addCounters(&c, i)
	c.subtract(&g.services[i].base)
	return c, err
}

// StrayCounters returns those of packets that belong to no service.
func (g *Programs) StrayCounters() (c Counters, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return c, g.addCounters(&c, uint32(len(g.services)))
}

func (c *Counters) subtract(o *Counters) {
	c.AnswerBytes -= o.AnswerBytes
	for _, p := range [][2][]uint64{
		{c.Verdict[:], o.Verdict[:]}, {c.Bytes[:], o.Bytes[:]}, {c.Reason[:], o.Reason[:]}, {c.Cookie[:], o.Cookie[:]},
		{c.Egress[:], o.Egress[:]}, {c.EgressBytes[:], o.EgressBytes[:]}, {c.Socket[:], o.Socket[:]}, {c.Handshakes[:], o.Handshakes[:]},
		{c.Ingress[:], o.Ingress[:]},
	} {
		for i := range p[0] {
			p[0][i] -= p[1][i]
		}
	}
}

func (g *Programs) addCounters(sum *Counters, index uint32) error {
	var perCPU []guardCounters
	if err := g.maps.Counts.Lookup(index, &perCPU); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	for i := range perCPU {
		sum.add(&perCPU[i])
	}
	if int(index) == len(g.services) { // packets to no service
		return nil
	}
	var state guardServiceState
	if err := g.maps.ServiceStates.Lookup(index, &state); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	for i, n := range state.Handshakes {
		sum.Handshakes[i] += n
	}
	return nil
}
