package frontend

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// changeable returns an error if a change of a service needs a restart.
func (v *service) changeable(n *Service) error {
	if v.inline && len(v.workers) == 0 && n.Settings.Answer != bpf.AnswerXDP {
		return hint.Errorf("restart the guard", "%s: answer cannot change from xdp while the service runs: it has no workers", v.name)
	}
	if v.kernel == nil || !slices.Equal(v.configured.Backends, n.Backends) {
		return nil
	}
	at := v.situation(v.kernel.attachedFor(v))
	at.asked, at.foreign = n.Settings.Answer, false // of the first service's secrets the configuration is checked
	if handsOverAnew(v.configured.Settings, n.Settings) {
		at.modes = nil // nobody knows before the server is asked
	}
	if _, err := divide(at); err != nil {
		return fmt.Errorf("%s: %w", v.name, err)
	}
	return nil
}

// restart is the hint for what a reload cannot do.
const restart = "restart the guard: systemctl restart dtlsguard"

// possible returns an error if a new service needs a restart.
func (s *Server) possible(n *Service) error {
	if n.Inline() && s.kernel == nil {
		return hint.Errorf(restart, "%v is protected by XDP, and the guard was started without an interface", n.Listen)
	}
	for _, name := range n.Interfaces {
		if !slices.Contains(s.config.XDP.Interfaces, name) {
			return hint.Errorf(restart, "%v is to be guarded on interface %s, which was not named when the guard was started", n.Listen, name)
		}
	}
	return nil
}

// free returns an error if another service has the port of a new one: only a restart gives it up.
func (s *Server) free(n *Service) error {
	for _, v := range s.list() {
		if n.Inline() != v.inline && s.kernel != nil && v.configured.Listen == n.Listen { // the programs tell services apart by address
			return hint.Errorf(restart, "%v cannot change between listen and protect while the service runs", n.Listen)
		}
		if !n.Inline() && !v.inline && n.Listen.Port() != 0 && overlap(v.listen, n.Listen) {
			return hint.Errorf(restart, "%v cannot be listened on while %v is", n.Listen, v.listen)
		}
	}
	return nil
}

// reloadable are the settings that a reload puts in force, by their flags: those of services. All others need a restart.
var reloadable = []string{
	"listen", "backend", "protect", "handoff", "harvest-pool", "harvest-rate", "secret-file", "rotate-every", "hello-rate", "hello-burst",
	"backend-hello-rate", "psk-suite", "idle-timeout", "attack-rate", "answer", "unverified", "unverified-rate", "pass", "monitor",
}

// restarts names the settings that have changed and that a reload does not change.
func (s *Server) restarts(now map[string]any) (names []string) {
	s.life.RLock()
	defer s.life.RUnlock()
	for name, v := range now {
		if !slices.Contains(reloadable, name) && !reflect.DeepEqual(v, s.flags[name]) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// show makes status show the settings in force after a reload.
func (s *Server) show(now map[string]any) {
	s.life.Lock()
	defer s.life.Unlock()
	s.flags = maps.Clone(s.flags)
	for _, name := range reloadable {
		if v, ok := now[name]; ok {
			s.flags[name] = v
		}
	}
}
