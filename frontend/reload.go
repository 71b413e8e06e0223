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
	"github.com/dtlsguard/dtlsguard/frontend/hint"
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
		switch {
		case err != nil:
		case s.ending:
			err = hint.Errorf("start the guard again", "the guard drains: a reload would let clients in again")
		default:
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
	restart := s.restarts(flags)
	t, err := s.plan(&c)
	if err == nil {
		err = t.protect(s.kernel)
	}
	if err != nil {
		for _, v := range t.fresh {
			v.close()
		}
		return Changes{Restart: restart}, err
	}
	done = t.done
	done.Restart = restart
	for _, v := range t.fresh {
		s.add(v)
	}
	for v, n := range t.changed {
		s.become(v, n)
	}
	for _, v := range s.list() { // the programs may have other secrets now
		s.kernel.follow(v)
	}
	for _, v := range t.gone {
		if !v.draining.Load() {
			done.Removed = append(done.Removed, v.name)
			s.remove(v)
		}
	}
	slices.Sort(done.Removed)
	s.show(flags)
	if s.kernel != nil {
		err = s.kernel.setPolicy(s.policy(&c, t.gone))
	}
	return done, err
}

// transition is what a reload is about to do.
type transition struct {
	done    Changes
	secrets *secrets   // of the first service
	fresh   []*service // open, and neither known to the programs nor running
	changed map[*service]*Service
	gone    map[serviceKey]*service // those that drain already included
}

// plan opens what is new in c, and refuses what cannot be. The transition is never nil.
func (s *Server) plan(c *Config) (t *transition, err error) {
	t = &transition{changed: make(map[*service]*Service), gone: make(map[serviceKey]*service)}
	for _, v := range s.list() {
		t.gone[v.configured.key()] = v
	}
	if t.secrets, err = s.secretsOf(c.Services[0].Settings); err != nil {
		return t, err
	}
	for i := range c.Services {
		n := &c.Services[i]
		v := t.gone[n.key()]
		delete(t.gone, n.key())
		err = s.possible(n)
		switch {
		case err != nil:
		case v == nil:
			if err = s.free(n); err == nil {
				v, err = s.open(n, slices.Concat(s.list(), t.fresh))
			}
			if err == nil {
				t.fresh = append(t.fresh, v)
				t.done.Added = append(t.done.Added, v.name)
				err = s.kernel.mayStandOpen(v)
			}
		case v.draining.Load() || !reflect.DeepEqual(v.configured, *n):
			if _, err = s.secretsOf(n.Settings); err == nil {
				err = v.changeable(n)
			}
			t.changed[v] = n
			t.done.Changed = append(t.done.Changed, v.name)
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

// protect makes the programs ready for a transition: they get its secrets and its new services. On error they are as before. It
// does nothing on a nil kernel.
func (t *transition) protect(k *kernel) error {
	if k == nil {
		return nil
	}
	was, err := k.use(t.secrets)
	for _, v := range t.fresh {
		if err == nil {
			err = k.add(v)
		}
	}
	if err == nil {
		return nil
	}
	for _, v := range t.fresh {
		k.remove(v)
	}
	_, failed := k.use(was)
	return errors.Join(err, failed)
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
		s.kernel.lookAround([]*service{v})
	}
	s.life.Lock()
	s.services = append(s.services, v)
	s.life.Unlock()
	v.announce()
	s.start(v, func() {})
}

// Alive returns nil while workers and heartbeat make progress.
func (s *Server) Alive() error {
	const late = 5 * time.Second // workers wake up once per second
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
