package result

// Handshakes is what became of real clients' handshakes during a flood.
type Handshakes struct {
	Subject   string  `json:"subject"`
	Flood     string  `json:"flood"`     // how much, in words
	Offered   float64 `json:"offered"`   // frames a second
	LinkLoss  float64 `json:"link_loss"` // share of them that the link had no room for: clients lose as many
	Busy      float64 `json:"busy"`      // share of the CPU
	Tried     int     `json:"tried"`
	Succeeded int     `json:"succeeded"`
	P50, P99  float64 // ms, of those that succeeded
}
