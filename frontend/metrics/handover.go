package metrics

// State is Totals as another process can take them over: events by name, for their numbers are those of one program.
type State struct {
	Events   map[string]uint64    `json:"events"`
	Bytes    [DirectionLen]uint64 `json:"bytes"`
	Fill     [fillBuckets]uint64  `json:"fill"`
	Received uint64               `json:"received"`
	Overruns uint64               `json:"overruns"`
}

// State is t for another process.
func (t *Totals) State() State {
	s := State{Events: make(map[string]uint64), Bytes: t.Bytes, Fill: t.Fill, Received: t.Received, Overruns: t.Overruns}
	for e, n := range t.Events {
		if n > 0 {
			s.Events[Labels[e].name()] += n
		}
	}
	return s
}

// Totals are those of a state. What this program does not count is left out.
func (s *State) Totals() *Totals {
	t := &Totals{Bytes: s.Bytes, Fill: s.Fill, Received: s.Received, Overruns: s.Overruns}
	for e := range t.Events {
		t.Events[e] = s.Events[Labels[e].name()]
	}
	return t
}

// name is that of an event.
func (l Label) name() string { return l.Stage + "/" + l.Outcome + "/" + l.Reason }
