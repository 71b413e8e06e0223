package frontend

import (
	"slices"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// Advice returns what costs speed in a configuration: services whose ClientHellos workers answer in place of XDP, by name, with
// the reason. It asks no server, so for --handoff auto it knows only what is true of every server.
func (c Config) Advice() map[string]string {
	if c.complete() != nil || len(c.XDP.Interfaces) == 0 {
		return nil
	}
	found := make(map[string]string)
	for i := range c.Services {
		s := &c.Services[i]
		modes := slices.Repeat([]handoff.Mode{s.Settings.Handoff}, max(1, len(s.Backends)))
		foreign := s.Settings.secretKey() != c.Services[0].Settings.secretKey()
		if !foreign && (len(modes) == 1 || modes[0] == handoff.Auto) {
			continue // it depends on the servers
		}
		t := situation{inline: s.Inline(), modes: modes, mac: c.MAC, asked: s.Settings.Answer, attached: bpf.AttachNative, foreign: foreign, workers: true}
		if why := t.whyWorkers(); why != "" {
			found[s.name()] = why
		}
	}
	return found
}

// WhyWorkers says why XDP cannot answer the ClientHellos of a proxy with back ends of those modes; "" if it can.
func WhyWorkers(modes []handoff.Mode) string {
	t := situation{modes: modes, mac: cookie.HMACSHA256, asked: bpf.AnswerAuto, attached: bpf.AttachNative, workers: true}
	return t.whyWorkers()
}

func (s *situation) whyWorkers() string {
	d, _ := divide(*s) // errors are the business of the check
	return s.why(d)
}
