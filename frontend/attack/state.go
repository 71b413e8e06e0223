package attack

import "time"

// State is a Detector for the process that continues it, as JSON.
type State struct {
	Rate     float64   `json:"rate"` // that it was made with
	Normal   float64   `json:"normal"`
	Last     Counts    `json:"last"`
	At       time.Time `json:"at"`
	Above    int       `json:"above"`
	First    Counts    `json:"first"`
	Began    time.Time `json:"began"`
	Attacked bool      `json:"attacked"`
	Peak     float64   `json:"peak"`
	Loud     time.Time `json:"loud"`
	Told     Counts    `json:"told"`
	ToldAt   time.Time `json:"told_at"`
}

// State returns the detector's state.
func (d *Detector) State() *State {
	return &State{d.rate, d.normal, d.last, d.at, d.above, d.first, d.began, d.attacked, d.peak, d.loud, d.told, d.toldAt}
}

// Continue makes a detector of s, which ends an attack after quiet. The counts that it will look at must continue, too.
func (s *State) Continue(quiet time.Duration) *Detector {
	return &Detector{s.Rate, quiet, s.Normal, s.Last, s.At, s.Above, s.First, s.Began, s.Attacked, s.Peak, s.Loud, s.Told, s.ToldAt}
}
