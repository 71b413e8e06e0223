package frontend

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Draining describes what a draining guard waits for.
type Draining struct {
	Flows  int    `json:"flows"`
	AtMost string `json:"at_most"` // a duration
}

// String is that in one line.
func (d Draining) String() string { return fmt.Sprintf("%d flows, at most %s", d.Flows, d.AtMost) }

// OnDrain sets the function that a drain request over the control socket calls; it returns at once. Call it before Run.
func (s *Server) OnDrain(f func()) { s.drainer = f }

// serveDrain drains the guard.
func (s *Server) serveDrain(w http.ResponseWriter, _ *http.Request) {
	if s.drainer == nil {
		http.Error(w, "this guard cannot be drained", http.StatusConflict)
		return
	}
	s.drainer()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Draining{s.Flows(), s.config.DrainTimeout.String()})
}
