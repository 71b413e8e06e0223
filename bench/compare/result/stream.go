package result

// Stream is the measurement of established flows over a path: requests with records of epoch 1 and their echoes, of Size bytes
// of UDP payload each.
type Stream struct {
	Subject string `json:"subject"`
	Size    int    `json:"size"`
	Skipped string `json:"skipped,omitempty"`
	Valid   int    `json:"valid"` // undisturbed rounds
	Rounds  int    `json:"rounds"`
	// Disturbed is what disturbed one of the other rounds.
	Disturbed string `json:"disturbed,omitempty"`

	// At full load: round trips per second, and per second of CPU time of the path; each is two packets.
	Rate    Spread  `json:"rate"`
	PerCore Spread  `json:"per_core"`
	Busy    float64 `json:"busy"` // share of the CPU under test

	// At a moderate rate: latencies of a round trip in us.
	Offered float64 `json:"offered"` // round trips per second
	P50     Spread  `json:"p50"`
	P99     Spread  `json:"p99"`
	P999    Spread  `json:"p999"`
	Lost    float64 `json:"lost"` // share
	// Curve has the latencies at the quantiles of CurveAt, of all rounds together.
	Curve []float64 `json:"curve,omitempty"`
}

// CurveAt are the quantiles of a latency curve.
var CurveAt = []float64{0, .01, .05, .1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .98, .99, .995, .998, .999, .9995, 1}

// Quantile returns a quantile of sorted values, 0 if there are none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
