package result

import (
	"slices"
	"strings"
)

// Handshakes is what became of real clients' handshakes during a flood.
type Handshakes struct {
	Subject   string  `json:"subject"`
	Flood     string  `json:"flood"`     // how much, in words
	Offered   float64 `json:"offered"`   // frames per second
	LinkLoss  float64 `json:"link_loss"` // share of them that the link had no room for: clients lose as many
	Busy      float64 `json:"busy"`      // share of the CPU
	Tried     int     `json:"tried"`
	Succeeded int     `json:"succeeded"`
	P50, P99  float64 // ms, of those that succeeded
	// Curve are the times in ms at the quantiles of CurveAt, of those that succeeded.
	Curve    []float64 `json:"curve,omitempty"`
	Targeted bool      `json:"promised,omitempty"` // what LeastHandshakes and MostWait say
	// Disturbed says why all this is not to be believed.
	Disturbed []string `json:"disturbed,omitempty"`
}

// What the guard is to achieve at a flood of any rate: the share of handshakes that succeed, and a p99 of at most
// twice that without a flood and one retransmission (RFC 6347 section 4.2.4.1), in ms.
const (
	LeastHandshakes = 0.999
	retransmission  = 1000
)

// MostWait is the p99 that is aimed at where it is idle ms without a flood.
func MostWait(idle float64) float64 { return 2*idle + retransmission }

// Sum fills in what became of those that succeeded, which took so many ms.
func (h *Handshakes) Sum(took []float64) {
	slices.Sort(took)
	h.Succeeded = len(took)
	h.P50, h.P99 = Quantile(took, 0.5), Quantile(took, 0.99)
	h.Curve = nil
	for _, q := range CurveAt {
		if len(took) > 0 {
			h.Curve = append(h.Curve, Quantile(took, q))
		}
	}
}

// Share is that of those that succeeded.
func (h *Handshakes) Share() float64 { return float64(h.Succeeded) / float64(max(1, h.Tried)) }

// missing is why h has no figures; "": it has.
func (h *Handshakes) missing() string {
	if len(h.Disturbed) > 0 {
		return "disturbed: " + strings.Join(h.Disturbed, ", ")
	}
	return ""
}

// idle is the p99 in ms of the same subject without a flood; 0: it is not known.
func (o *Outcome) idle(subject string) float64 {
	for i := range o.Handshakes {
		if h := &o.Handshakes[i]; h.Subject == subject && h.Offered == 0 && h.missing() == "" {
			return h.P99
		}
	}
	return 0
}
