package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// AddressStatus lists known addresses, and prefixes that are allowed or denied.
type AddressStatus struct {
	Lifetime float64          `json:"lifetime_seconds"`
	Rules    []addresses.Rule `json:"rules"`
	Known    []KnownAddress   `json:"known"` // in no order
}

// KnownAddress is a proved address.
type KnownAddress struct {
	Prefix netip.Prefix `json:"prefix"` // /32, or /64 of IPv6
	Age    uint32       `json:"seen_seconds_ago"`
}

// Addresses takes a snapshot of what is known of addresses.
func (s *Server) Addresses() AddressStatus {
	s.life.RLock() // the set may be in the programs' memory
	defer s.life.RUnlock()
	st := AddressStatus{Lifetime: s.config.AddressLifetime.Seconds(), Rules: s.lists.Rules(), Known: []KnownAddress{}}
	if s.closed {
		return st
	}
	for a := range s.set.All(addresses.Seconds(s.clock())) {
		st.Known = append(st.Known, KnownAddress{a.Prefix, a.Age})
	}
	return st
}

// serveAddresses answers GET /addresses.
func (s *Server) serveAddresses(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.Addresses())
}

// serveRule answers POST and DELETE /addresses?list=allow|deny&prefix=PREFIX, the first with &for=DURATION.
func (s *Server) serveRule(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	list, ok := map[string]addresses.Verdict{"allow": addresses.Allow, "deny": addresses.Deny}[q.Get("list")]
	prefix, err := addresses.ParsePrefix(q.Get("prefix"))
	if err == nil && !ok {
		err = fmt.Errorf("there is no list %q", q.Get("list"))
	}
	var long time.Duration
	if text := q.Get("for"); err == nil && text != "" {
		if long, err = time.ParseDuration(text); err == nil && long < time.Second {
			err = fmt.Errorf("%v is too short: 1s is the least", long)
		}
	}
	if err != nil {
		refuseAs(w, err, http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodDelete {
		err = s.TakeRule(prefix, list)
	} else {
		err = s.GiveRule(prefix, list, long)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if r.Method == http.MethodDelete {
		s.config.Log.Info("prefix removed from its list", "list", list, "prefix", prefix)
	} else {
		s.config.Log.Info("list changed", "list", list, "prefix", prefix, "for", long)
	}
	s.serveAddresses(w, r)
}

// GiveRule allows or denies a prefix for a time; 0: forever. Known addresses in a denied prefix are forgotten.
func (s *Server) GiveRule(p netip.Prefix, v addresses.Verdict, long time.Duration) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return context.Canceled
	}
	if err := s.lists.Give(p, v, long); err != nil {
		return err
	}
	if v == addresses.Deny {
		s.set.Remove(p)
	}
	return nil
}

// TakeRule removes a rule of GiveRule.
func (s *Server) TakeRule(p netip.Prefix, v addresses.Verdict) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return context.Canceled
	}
	return s.lists.Take(p, v)
}

// AdmissionStatus describes how a service of mode reset or limit admits first ClientHellos.
type AdmissionStatus struct {
	Engage  string `json:"engage"`
	Engaged bool   `json:"engaged"` // unproved addresses are challenged now, or dropped above the rate
	Times   uint64 `json:"times_above_rate"`
}

// admission returns v's AdmissionStatus; nil if its clients bring cookies.
func (v *service) admission() *AdmissionStatus {
	modes := v.now.Load().modes()
	if len(modes) != 1 || !modes[0].Passes() {
		return nil
	}
	return &AdmissionStatus{
		Engage: v.config.Engage.String(), Times: v.gate.Times(),
		Engaged: modes[0] == handoff.Reset && v.gate.Always() || v.engaged(),
	}
}

// engaged reports whether v's ClientHellos were above the rate lately, counted by workers or programs.
func (v *service) engaged() bool {
	now := v.clock()
	if v.gate.Engaged(now) {
		return true
	}
	if v.kernel == nil {
		return false
	}
	until, err := v.kernel.guard.EngagedUntil(v.key())
	return err == nil && int64(until) > now
}

// watchGates logs when a service starts and stops challenging clients because of their number.
func (s *Server) watchGates(ctx context.Context) {
	was := make(map[*service]bool)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, v := range s.list() {
			a := v.admission()
			if a == nil || v.gate.Always() && v.now.Load().modes()[0] == handoff.Reset || v.engaged() == was[v] {
				continue
			}
			if was[v] = !was[v]; was[v] {
				v.log.Warn("more ClientHellos than the rate from addresses that have proved nothing", "rate", s.config.EngageRate, "engage", a.Engage)
			} else {
				v.log.Info("ClientHellos are within the rate again")
			}
		}
	}
}
