package bpf

import "fmt"

// Counters count the packets of one service, or of all services and of none, since the maps were created. The indices are
// Verdict, hello.Reason, CookieState, EgressOutcome, SocketChoice and IngressOutcome.
type Counters struct {
	Verdict [VerdictLen]uint64
	Reason  [reasonLen]uint64
	Cookie  [CookieLen]uint64
	Egress  [EgressLen]uint64
	Socket  [SocketLen]uint64
	Ingress [IngressLen]uint64
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
		c.Verdict[i] += o.Verdict[i]
	}
	for i := range c.Reason {
		c.Reason[i] += o.Reason[i]
	}
	for i := range c.Cookie {
		c.Cookie[i] += o.Cookie[i]
	}
	for i := range c.Egress {
		c.Egress[i] += o.Egress[i]
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
	for _, p := range [][2][]uint64{
		{c.Verdict[:], o.Verdict[:]}, {c.Reason[:], o.Reason[:]}, {c.Cookie[:], o.Cookie[:]}, {c.Egress[:], o.Egress[:]}, {c.Socket[:], o.Socket[:]},
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
	return nil
}
