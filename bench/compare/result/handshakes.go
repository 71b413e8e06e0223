package result

import (
	"slices"
	"strings"
)

// Handshakes is the outcome of real clients' handshakes during a flood.
type Handshakes struct {
	Subject   string  `json:"subject"`
	Flood     string  `json:"flood"`     // its rate in words
	Offered   float64 `json:"offered"`   // frames per second
	LinkLoss  float64 `json:"link_loss"` // share of them that the link dropped; clients lose the same share
	Busy      float64 `json:"busy"`      // share of the CPU
	Tried     int     `json:"tried"`
	Succeeded int     `json:"succeeded"`
	P50, P99  float64 // ms, of those that succeeded
	// Curve has the times in ms of those that succeeded, at the quantiles of CurveAt.
	Curve    []float64 `json:"curve,omitempty"`
	Targeted bool      `json:"promised,omitempty"` // LeastHandshakes and MostWait are the targets
	// Disturbed has the reasons why these figures are not valid.
	Disturbed []string `json:"disturbed,omitempty"`
}

// The targets at any rate of a flood: the share of handshakes that succeed, and a p99 of at most
// twice that without a flood and one retransmission (RFC 6347 section 4.2.4.1), in ms.
const (
	LeastHandshakes = 0.999
	retransmission  = 1000
)

// MostWait is the target of the p99 in ms if it is idle ms without a flood.
func MostWait(idle float64) float64 { return 2*idle + retransmission }

// Sum fills in the figures of the handshakes that succeeded, from their times in ms.
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

// Share is the share of handshakes that succeeded.
func (h *Handshakes) Share() float64 { return float64(h.Succeeded) / float64(max(1, h.Tried)) }

// missing is the reason why h has no figures, "" if it has.
func (h *Handshakes) missing() string {
	if len(h.Disturbed) > 0 {
		return "disturbed: " + strings.Join(h.Disturbed, ", ")
	}
	return ""
}

// idle is the p99 in ms of the same subject without a flood, 0 if unknown.
func (o *Outcome) idle(subject string) float64 {
	for i := range o.Handshakes {
		if h := &o.Handshakes[i]; h.Subject == subject && h.Offered == 0 && h.missing() == "" {
			return h.P99
		}
	}
	return 0
}
