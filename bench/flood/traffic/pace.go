package traffic

// Pace bounds what a generator sends. The zero value is unlimited.
type Pace struct {
	Rate  float64 // datagrams per second; 0: unlimited
	Limit uint64  // datagrams in all; 0: unlimited
}

// Split returns the pace of each of n senders that share p. The first gets the remainder.
func (p Pace) Split(n, i int) Pace {
	s := Pace{Rate: p.Rate / float64(n), Limit: p.Limit / uint64(n)}
	if i == 0 {
		s.Limit += p.Limit % uint64(n)
	}
	return s
}
