package frontend

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Readiness says whether clients of a service can be served.
type Readiness struct {
	Service string   `json:"service"`
	Listen  string   `json:"listen"`
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"` // why not; or, of a service that is ready, which back ends are not

	open bool // unverified packets reach its server
}

// readiness returns the readiness of a service: it is ready if one of its back ends is.
func (v *service) readiness() Readiness {
	r := Readiness{Service: v.name, Listen: v.listen.String()}
	if err := v.refused.Load(); err != nil {
		r.Reasons, r.open = append(r.Reasons, say(*err)), v.inline && v.unprotected.Load()
		return r
	}
	if v.kernel != nil {
		open, idle, lost := v.kernel.lostFor(v)
		if lost != nil {
			r.Reasons = append(r.Reasons, "XDP is not in force: "+lost.Error())
		}
		if v.inline {
			if err := v.reachable(v.ways()); err != nil {
				r.Reasons, open = append(r.Reasons, say(err)), true
			}
			r.open = open
		}
		if v.inline && (open || idle) {
			return r
		}
	}
	if v.draining.Load() {
		r.Reasons = append(r.Reasons, "it drains")
		return r
	}
	if v.inline {
		h := v.inlineHealth()
		if r.Ready = h.up; !r.Ready {
			why := "the server has not been asked yet"
			if h.why != nil {
				why = say(h.why)
			}
			r.Reasons = append(r.Reasons, why)
		}
		return r
	}
	for _, t := range v.list() {
		st := t.status()
		switch {
		case st.Ready:
			r.Ready = true
		case t.backend.Load() == nil:
			r.Reasons = append(r.Reasons, fmt.Sprintf("back end %s: %s", t.config.Address, st.Why))
		case !st.Up:
			r.Reasons = append(r.Reasons, fmt.Sprintf("back end %s: it does not answer", t.config.Address))
		default:
			r.Reasons = append(r.Reasons, fmt.Sprintf("back end %s: %d of %d cookies known", t.config.Address, st.Known, st.Pool))
		}
	}
	return r
}

// called is called for a service's readiness.
func (r *Readiness) called(asked string) bool {
	listen, err := netip.ParseAddrPort(r.Listen)
	return err == nil && called(r.Service, listen, asked)
}

// say renders an error and its hint for status and /readyz, in one line.
func say(err error) string {
	text := hint.Line(err)
	if h := hint.Of(err); h != "" {
		text += ": " + h
	}
	return hint.Flags(text)
}

// Readiness returns the readiness of each service.
func (s *Server) Readiness() (all []Readiness) {
	for _, v := range s.list() {
		all = append(all, v.readiness())
	}
	return all
}

func (r *Readiness) err() error {
	if r.Ready {
		return nil
	}
	return fmt.Errorf("%s: %s", r.Service, strings.Join(r.Reasons, ", "))
}

// Ready is nil if clients can be served through every service.
func (s *Server) Ready() error {
	s.life.RLock()
	defer s.life.RUnlock()
	return s.ready()
}

func (s *Server) ready() error {
	var errs []error
	for _, v := range s.services {
		r := v.readiness()
		errs = append(errs, r.err())
	}
	return errors.Join(errs...)
}

// Available returns nil while clients should be sent to the guard: at least one service is ready (a dead back end must not cost
// the healthy services their guard), and no protected server can be reached past it.
func (s *Server) Available() error {
	s.life.RLock()
	defer s.life.RUnlock()
	return s.available()
}

func (s *Server) available() error {
	some := false
	for _, v := range s.services {
		r := v.readiness()
		if r.open {
			return r.err()
		}
		some = some || r.Ready
	}
	if some {
		return nil
	}
	return s.ready()
}
