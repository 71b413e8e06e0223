package traffic

import "time"

// Pace says how many datagrams are due. The zero value sends all that can be sent.
type Pace struct {
	Rate  float64 // a second; 0: as fast as they go
	Limit uint64  // in all; 0: none
}

// Due is how many to send now, up to most, when done have been sent in elapsed. A sender that was kept off its CPU
// catches up.
func (p Pace) Due(elapsed time.Duration, done uint64, most int) int {
	if p.Limit != 0 {
		most = int(min(uint64(most), p.Limit-min(done, p.Limit)))
	}
	if p.Rate <= 0 {
		return most
	}
	return max(0, min(most, int(int64(elapsed.Seconds()*p.Rate)-int64(done))))
}

// Over reports whether all of the limit is done.
func (p Pace) Over(done uint64) bool { return p.Limit != 0 && done >= p.Limit }

// Split is the pace of each of n senders that keep p together. The first has what is left over.
func (p Pace) Split(n, i int) Pace {
	s := Pace{Rate: p.Rate / float64(n), Limit: p.Limit / uint64(n)}
	if i == 0 {
		s.Limit += p.Limit % uint64(n)
	}
	return s
}
