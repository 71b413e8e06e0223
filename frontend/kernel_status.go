package frontend

import (
	"errors"
	"fmt"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// XDPStatus shows the counters of the programs. The maps omit zeroes.
type XDPStatus struct {
	Interfaces []InterfaceStatus            `json:"interfaces"`
	Flows      int                          `json:"flows"` // established or half-open
	HalfOpen   int                          `json:"half_open_flows"`
	Verdicts   map[string]uint64            `json:"verdicts"`
	Reasons    map[string]uint64            `json:"reasons"` // kinds of datagrams to services
	Cookies    map[string]uint64            `json:"cookies"`
	Ingress    map[string]uint64            `json:"ingress"` // inline: how ClientHellos went on to workers
	Egress     map[string]uint64            `json:"egress"`
	Sockets    map[string]uint64            `json:"sockets"`  // how datagrams found their worker
	Services   map[string]map[string]uint64 `json:"services"` // verdicts of each

	// Bytes of UDP payload: of packets by verdict, of answers, and by service.
	Bytes        map[string]uint64            `json:"bytes"`
	AnswerBytes  uint64                       `json:"answer_bytes"`
	ServiceBytes map[string]map[string]uint64 `json:"service_bytes"`
}

// InterfaceStatus describes the programs on one interface.
type InterfaceStatus struct {
	Interface      string `json:"interface"` // as it was configured
	Name           string `json:"name"`      // its current name; "": it is gone
	Mode           string `json:"mode"`
	Up             bool   `json:"up"`
	MTU            int    `json:"mtu"`
	Lost           string `json:"lost,omitempty"`  // why the programs are not in force
	Reattached     uint64 `json:"reattached"`      // times that they were attached again
	NeighboursHeld uint64 `json:"neighbours_held"` // times that a router's neighbour entry was confirmed
}

func (d *device) status() InterfaceStatus {
	at := d.at()
	st := InterfaceStatus{Interface: d.name, Name: at.Name, Mode: d.attached().String(), Up: at.Up, MTU: at.MTU,
		Reattached: d.reattached.Load(), NeighboursHeld: d.held.Load()}
	if lost := d.lost.Load(); lost != nil {
		st.Lost = (*lost).Error()
	}
	return st
}

func (k *kernel) status(services []*service) (*XDPStatus, error) {
	c, err := k.guard.Counters()
	if err != nil {
		return nil, err
	}
	st := &XDPStatus{
		Verdicts: named[bpf.Verdict](c.Verdict[:]), Reasons: named[hello.Reason](c.Reason[:]), Cookies: named[bpf.CookieState](c.Cookie[:]),
		Ingress: named[bpf.IngressOutcome](c.Ingress[:]), Egress: named[bpf.EgressOutcome](c.Egress[:]), Sockets: named[bpf.SocketChoice](c.Socket[:]),
		Services: make(map[string]map[string]uint64),
		Bytes:    named[bpf.Verdict](c.Bytes[:]), AnswerBytes: c.AnswerBytes, ServiceBytes: make(map[string]map[string]uint64),
	}
	for _, d := range k.devices {
		st.Interfaces = append(st.Interfaces, d.status())
	}
	if st.Flows, st.HalfOpen, err = k.guard.VerifiedFlows(); err != nil {
		return nil, err
	}
	for _, v := range services {
		c, err := k.guard.ServiceCounters(v.key())
		if errors.Is(err, bpf.ErrNoService) { // it is being removed
			continue
		}
		if err != nil {
			return nil, err
		}
		st.Services[v.listen.String()] = named[bpf.Verdict](c.Verdict[:])
		st.ServiceBytes[v.listen.String()] = named[bpf.Verdict](c.Bytes[:])
	}
	return st, nil
}

// named maps counters by the names of their enum.
func named[E interface {
	~uint8
	fmt.Stringer
}](counts []uint64) map[string]uint64 {
	m := make(map[string]uint64)
	for i, n := range counts {
		if n > 0 {
			m[E(i).String()] = n
		}
	}
	return m
}
