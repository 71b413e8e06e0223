package frontend

import (
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// openRaw opens the sockets by which workers of inline services answer from the services' ports, a pair for each worker of a
// number. Without the privilege their answers leave from the workers' port, and the egress program rewrites them.
func (s *Server) openRaw() {
	if s.kernel == nil || s.config.WorkersPort != 0 {
		return
	}
	for range s.config.Workers {
		raw, err := udpbatch.OpenRaw(s.config.ReceiveBuffer)
		if err != nil {
			s.closeRaw()
			s.noRaw = err
			return
		}
		s.raw = append(s.raw, raw)
	}
}

func (s *Server) closeRaw() {
	for _, raw := range s.raw {
		raw.Close()
	}
	s.raw = nil
}

// answerFromPort lets the workers of an inline service answer from its port. If they cannot, that is said of the first such
// service, which a reload may add.
func (s *Server) answerFromPort(v *service) {
	if v.inline && len(v.workers) > 0 && s.noRaw != nil {
		s.config.Log.Warn("answers of workers leave from another port, which only the egress program puts right: they are lost where they leave by an interface without it",
			"error", s.noRaw, "hint", hint.Of(s.noRaw))
		s.noRaw = nil
	}
	for i, w := range v.workers {
		if v.inline && i < len(s.raw) {
			w.fromPort = s.raw[i].NewSender(v.listen, s.config.Batch)
		}
	}
}
