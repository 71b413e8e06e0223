package traffic

// Pace bounds what a generator sends. The zero value sends all that can be sent.
type Pace struct {
	Rate  float64 // a second; 0: as fast as they go
	Limit uint64  // in all; 0: none
}

// Split is the pace of each of n senders that keep p together. The first has what is left over.
func (p Pace) Split(n, i int) Pace {
	s := Pace{Rate: p.Rate / float64(n), Limit: p.Limit / uint64(n)}
	if i == 0 {
		s.Limit += p.Limit % uint64(n)
	}
	return s
}
