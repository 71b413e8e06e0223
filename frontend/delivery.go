package frontend

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// What must come and does not is said when so many packets were on their way over ten looks, one per second, and none came: in ten
// seconds a client retransmits three times.
const (
	missingPackets = 5
	missingLooks   = 10
	lookAfterBeats = int(time.Second / beatEvery)
)

// stretch is a part of a packet's way: what enters it must leave it.
type stretch struct {
	in, out uint64 // when something last left
	looks   int    // since then
	said    bool
}

// delivery watches the ways of an inline service's packets that lead through what the guard does not control: the host's
// firewall, its routes, and programs of others.
type delivery struct {
	toWorkers, fromWorkers, ofServer stretch
	problem                          atomic.Pointer[string] // nil: none
}

// moved looks at a stretch with the current counts, and reports whether its problem is new.
func (s *stretch) moved(in, out uint64) (problem bool) {
	if out != s.out || in < s.in {
		*s = stretch{in: in, out: out}
		return false
	}
	s.looks++
	if s.looks < missingLooks || in-s.in < missingPackets {
		return false
	}
	problem, s.said = !s.said, true
	return problem
}

// watchDelivery looks at the packets of an inline service once.
func (k *kernel) watchDelivery(v *service) {
	if !v.inline || len(k.devicesOf(v)) == 0 {
		return
	}
	c, err := k.guard.ServiceCounters(v.key())
	if err != nil { // it is not protected yet, or no more
		return
	}
	var t metrics.Totals
	for _, w := range v.workers {
		w.counts.AddTo(&t)
	}
	d := &v.delivery
	var egress uint64
	for _, n := range c.Egress {
		egress += n
	}
	byEgress := c.Egress[bpf.EgressRewritten] + c.Egress[bpf.EgressReinjected]
	left := t.Events[metrics.Verified] // what only the egress program can deliver
	if len(v.workers) > 0 && v.workers[0].fromPort == nil {
		left += t.Events[metrics.AnswerSent]
	}
	passed := c.Verdict[bpf.PassVerified] + c.Verdict[bpf.PassAddress] + c.Verdict[bpf.PassUnproved]
	if !v.inlineHealth().up {
		passed = d.ofServer.in // nothing is to be expected
	}
	var problem *string
	for _, s := range []struct {
		*stretch
		in, out      uint64
		problem, fix string
	}{
		{&d.toWorkers, c.Verdict[bpf.Steered], t.Received, "ClientHellos do not reach the workers",
			"let the service's port in by the firewall; if NAT forwards it, choose setting workers-port and let that in"},
		{&d.fromWorkers, left, byEgress, "answers of workers are not seen at egress: they leave from another port",
			"name the interface that they leave by, too (ip route get CLIENT, setting interface), and let no tc program end the chain before the guard's"},
		{&d.ofServer, passed, egress, "nothing that the server sends is seen at egress: its sessions are not learned",
			"name the interface that it leaves by, too (ip route get CLIENT, setting interface), and let no tc program end the chain before the guard's"},
	} {
		if s.moved(s.in, s.out) {
			v.log.Warn("packets of the service get lost on this host", "why", s.problem, "hint", s.fix)
		}
		if s.said && problem == nil {
			text := fmt.Sprintf("%s: %s", s.problem, s.fix)
			problem = &text
		}
	}
	d.problem.Store(problem)
}

// workersBy says how ClientHellos reach the workers of an inline service, "" without workers, and why not by their sockets, if
// that was not asked for.
func (v *service) workersBy() (by string, why error) {
	if !v.inline || v.kernel == nil || len(v.workers) == 0 {
		return "", nil
	}
	if v.config.WorkersPort == 0 {
		if why = v.kernel.guard.Unassigned(); why == nil {
			return "socket", nil
		}
	}
	return fmt.Sprintf("port %d", v.workers[0].socket.Local().Port()), why
}

// sayPort tells an operator who has not chosen a workers' port that there is one.
func (v *service) sayPort() {
	if by, why := v.workersBy(); why != nil {
		v.log.Warn("ClientHellos reach workers by a port of their own, which a host's firewall must let in", "workers", by, "error", why,
			"hint", "choose it with setting workers-port")
	}
}
