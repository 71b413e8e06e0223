package result

// Row is a subject's result in a comparison: packets handled per second of CPU time.
type Row struct {
	Subject string `json:"subject"`
	Spread
	Runs    []Run  `json:"runs"`
	Skipped string `json:"skipped,omitempty"`  // why it could not be measured
	Valid   int    `json:"valid"`              // undisturbed runs
	AtLeast bool   `json:"at_least,omitempty"` // in half of them or more the generator was too slow to show all that it can
}

// Run is the measurement of one subject in one window. Rates are per second.
type Run struct {
	Seconds  float64 `json:"seconds"`
	Offered  float64 `json:"offered"`  // frames that the generator sent
	Received float64 `json:"received"` // those of them that the link accepted
	Answers  float64 `json:"answers"`
	Right    float64 `json:"right"` // answers that are the HelloVerifyRequest for their question
	// Shares of the CPU under test.
	Busy   float64 `json:"busy"` // the subject
	Idle   float64 `json:"idle"`
	Steal  float64 `json:"steal"`
	Others float64 `json:"others"` // neither idle, nor stolen, nor the subject
	// PerCore is the number handled per second of the subject's CPU time: its rate if it had the CPU to itself
	// and unlimited work. So the generator need not saturate it, and what others use does
	// not count as the subject's.
	PerCore float64 `json:"per_core"`
	Short   bool    `json:"short,omitempty"` // the subject could have handled more, had more been offered
	// Disturbed has the reasons why the rates are not valid.
	Disturbed []string `json:"disturbed,omitempty"`
}

// Ratio is the ratio of two rows' medians; 0 if one of them is missing.
type Ratio struct {
	A     string  `json:"a"`
	B     string  `json:"b"`
	Ratio float64 `json:"ratio"`
	Want  float64 `json:"want,omitempty"` // at least; 0: no target
	Bound Bound   `json:"bound,omitempty"`
}

// Bound says what a ratio is if one of its rows is the least that can be. The zero Bound: as measured.
type Bound string

// The bounds.
const (
	AtLeast Bound = "at least"
	AtMost  Bound = "at most"
	Unknown Bound = "of two that are at least"
)

// BoundOf is that of a / b.
func BoundOf(a, b *Row) Bound {
	switch {
	case a.AtLeast && b.AtLeast:
		return Unknown
	case a.AtLeast:
		return AtLeast
	case b.AtLeast:
		return AtMost
	}
	return ""
}

// Sum fills in median and spread of the runs that count: the undisturbed ones, or all of them with keep. If more than
// half of them were disturbed, there is no figure.
func (r *Row) Sum(keep bool) {
	var rates []float64
	short := 0
	for i := range r.Runs {
		if r.Runs[i].Disturbed == nil {
			r.Valid++
		}
		if r.Runs[i].Disturbed == nil || keep {
			rates = append(rates, r.Runs[i].PerCore)
			if r.Runs[i].Short {
				short++
			}
		}
	}
	if 2*len(rates) >= len(r.Runs) {
		r.Spread = SpreadOf(rates)
		r.AtLeast = short > 0 && 2*short >= len(rates)
	}
}

// Mean is the mean of a value over all runs.
func (r *Row) Mean(of func(*Run) float64) float64 {
	var sum float64
	for i := range r.Runs {
		sum += of(&r.Runs[i])
	}
	return sum / float64(max(1, len(r.Runs)))
}

// nanoseconds is the time of one, from a rate per second.
func (s Spread) nanoseconds() float64 { return 1e9 / s.Median }
