package frontend

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// Changes is what a reload did.
type Changes struct {
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Restart []string `json:"restart,omitempty"` // changed settings that need a restart
}

// String is the changes in one line.
func (c Changes) String() string {
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"added", c.Added}, {"removed", c.Removed}, {"changed", c.Changed}, {"take a restart", c.Restart}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+": "+strings.Join(p.names, ", "))
		}
	}
	if len(parts) == 0 {
		return "nothing has changed"
	}
	return strings.Join(parts, "; ")
}

// Check is nil if a Server can be made of c, as far as can be told without opening anything.
func (c Config) Check() error { return c.complete() }

// OnReload sets the function by which Reload reads the configuration again. Call it before Run.
func (s *Server) OnReload(again func(context.Context) (Config, error)) { s.again = again }

// Reload reads secret files and the configuration again, puts in force what has changed, and opens the map log anew. Services
// that stay as they are are not touched. On error, which is logged and counted, the configuration is unchanged, or a secret is
// still the old one.
func (s *Server) Reload(ctx context.Context) (Changes, error) {
	s.reload.Lock()
	defer s.reload.Unlock()
	errs := []error{s.mapLog.reopen()}
	var done Changes
	if s.again != nil {
		c, err := s.again(ctx)
		if err == nil {
			done, err = s.apply(c)
		}
		if err != nil {
			s.config.Log.Error("configuration refused; keeping the old one", "error", err)
			errs = append(errs, err)
		}
		s.dropSecrets()
	}
	for key, x := range s.allSecrets() {
		if key.file != "" {
			errs = append(errs, x.follow())
		}
	}
	if err := errors.Join(errs...); err != nil {
		s.reloadsFailed.Add(1)
		s.events.Emit(events.ReloadFailed, "", "error", err)
		return done, err
	}
	s.reloads.Add(1)
	s.config.Log.Info("reloaded", "changes", done.String())
	s.events.Emit(events.Reloaded, "", "changes", done.String())
	return done, nil
}

// serviceKey identifies a service across reloads.
type serviceKey struct {
	listen netip.AddrPort
	inline bool
}

func (c *Service) key() serviceKey { return serviceKey{c.Listen, c.Inline()} }

// apply puts the services of c in force. Everything that may fail comes first, so that an error changes nothing.
func (s *Server) apply(c Config) (done Changes, err error) {
	if err := c.complete(); err != nil {
		return done, err
	}
	flags := c.flags()
	done.Restart = s.restarts(flags)
	now := make(map[serviceKey]*service)
	for _, v := range s.list() {
		now[v.configured.key()] = v
	}
	var fresh []*service
	undo := func() {
		for _, v := range fresh {
			v.close()
		}
	}
	first, err := s.secretsOf(c.Services[0].Settings)
	if err != nil {
		return done, err
	}
	changed := make(map[*service]*Service)
	for i := range c.Services {
		n := &c.Services[i]
		v := now[n.key()]
		delete(now, n.key())
		err = s.possible(n)
		switch {
		case err != nil:
		case v == nil:
			if err = s.free(n); err == nil {
				v, err = s.open(n)
			}
			if err == nil {
				err = s.kernel.mayStandOpen(v)
				fresh = append(fresh, v)
				done.Added = append(done.Added, v.name)
			}
		case v.draining.Load() || !reflect.DeepEqual(v.configured, *n):
			if _, err = s.secretsOf(n.Settings); err == nil {
				err = v.changeable(n)
			}
			changed[v] = n
			done.Changed = append(done.Changed, v.name)
		}
		if err != nil {
			undo()
			return Changes{Restart: done.Restart}, err
		}
	}
	if _, err = s.kernel.use(first); err != nil {
		undo()
		return Changes{Restart: done.Restart}, err
	}
	for _, v := range fresh {
		s.add(v)
	}
	for v, n := range changed {
		s.become(v, n)
	}
	for _, v := range s.list() { // the programs may have other secrets now
		s.kernel.follow(v)
	}
	for _, v := range now {
		if !v.draining.Load() {
			done.Removed = append(done.Removed, v.name)
			s.remove(v)
		}
	}
	slices.Sort(done.Removed)
	s.show(flags)
	if s.kernel != nil {
		err = s.kernel.setPolicy(s.policy(&c, now))
	}
	return done, err
}

// policy is the configuration that the programs get after a reload: the services of c, and those that drain. Of the rest nothing
// changes without a restart.
func (s *Server) policy(c *Config, draining map[serviceKey]*service) *Config {
	policy := s.config
	policy.IdleTimeout, policy.Services = c.IdleTimeout, slices.Clone(c.Services)
	for _, v := range draining {
		policy.Services = append(policy.Services, v.configured)
	}
	return &policy
}

// add starts a new service.
func (s *Server) add(v *service) {
	if s.kernel != nil {
		if err := s.kernel.add(v); err != nil {
			v.refused.Store(&err)
			v.log.Error("XDP does not protect the service", "error", err)
		}
		s.kernel.lookAround([]*service{v})
	}
	s.life.Lock()
	s.services = append(s.services, v)
	s.life.Unlock()
	v.announce()
	s.start(v, func() {})
}

// become applies the configuration n to v; sockets and flows stay.
func (s *Server) become(v *service, n *Service) {
	x, err := s.secretsOf(n.Settings)
	if err != nil {
		return // it was there a moment ago, in apply
	}
	was := v.configured
	v.draining.Store(false)
	v.mu.Lock()
	v.configured = *n
	v.mu.Unlock()
	anew := handsOverAnew(was.Settings, n.Settings)
	v.change(func(next *serving) {
		if next.settings.HelloRate != n.Settings.HelloRate || next.settings.BackendHelloRate != n.Settings.BackendHelloRate {
			next.hellos = limit.NewHellos(n.Settings.HelloRate, n.Settings.BackendHelloRate)
		}
		next.settings, next.interfaces, next.secrets, next.keys = n.Settings, n.Interfaces, x, &x.store
		if anew && v.inline {
			next.fit = nil
			if m := n.Settings.Handoff; m != handoff.Auto && m != handoff.Reset && !m.Native() {
				next.fit = &handoff.Fit{Mode: m}
			}
		}
	})
	v.retarget(n.Backends, anew)
	v.publish()
}

// handsOverAnew reports whether servers must be probed again.
func handsOverAnew(was, now *Settings) bool {
	return was.Handoff != now.Handoff || was.HarvestPool != now.HarvestPool || was.HarvestRate != now.HarvestRate || was.SecretFile != now.SecretFile || was.PSKSuite != now.PSKSuite
}

// retarget replaces the back ends by those of list. New ones are probed before old ones are removed, so that clients are served
// meanwhile.
func (v *service) retarget(list []Backend, anew bool) {
	v.mu.Lock()
	var stay, leave, fresh []*target
	for _, t := range v.targets {
		if !anew && slices.Contains(list, t.config) && !t.leaving {
			stay = append(stay, t)
		} else {
			leave = append(leave, t)
			t.leaving = true
		}
	}
	for _, b := range list {
		if !slices.ContainsFunc(stay, func(t *target) bool { return t.config == b }) {
			fresh = append(fresh, newTarget(v, b))
		}
	}
	v.targets = slices.Concat(stay, fresh, leave)
	v.mu.Unlock()
	for _, t := range fresh {
		v.runTarget(t)
	}
	if len(leave) == 0 {
		return
	}
	v.running.Go(func() {
		for _, t := range fresh {
			select {
			case <-t.tried:
			case <-v.ctx.Done():
				return
			}
		}
		v.leave(leave)
	})
}

// leave drops targets; their flows end by themselves.
func (v *service) leave(gone []*target) {
	v.mu.Lock()
	v.targets = slices.DeleteFunc(slices.Clone(v.targets), func(t *target) bool { return slices.Contains(gone, t) })
	v.mu.Unlock()
	for _, t := range gone {
		t.stop()
	}
	v.publish()
	for _, t := range gone {
		if e := t.backend.Swap(nil); e != nil {
			e.release()
		}
	}
}

// Alive returns nil while workers and heartbeat make progress.
func (s *Server) Alive() error {
	const late = 5 * time.Second // workers wake up once a second
	if s.frozen.Load() {
		return nil // frozen, for the short time of a handover
	}
	now := s.clock()
	for _, v := range s.list() {
		for i, w := range v.workers {
			if seen := w.alive.Load(); seen > 0 && now-seen > int64(late) {
				return fmt.Errorf("worker %d of %s has not moved for %v", i, v.name, time.Duration(now-seen).Round(time.Second))
			}
		}
	}
	if s.kernel != nil {
		if seen := s.kernel.beaten.Load(); seen > 0 && now-seen > int64(late) {
			return errors.New("the heartbeat of the kernel's programs stands still")
		}
	}
	return nil
}
