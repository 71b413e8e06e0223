package frontend

import (
	"slices"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

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
