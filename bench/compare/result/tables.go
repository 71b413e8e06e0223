package result

import "fmt"

func (o *Outcome) handshakes() Table {
	t := Table{Head: []string{"", "flood", "M/s", "lost", "succeeded", "p50 ms", "p99 ms", "busy"}, Left: 1}
	for i := range o.Handshakes {
		h := &o.Handshakes[i]
		if why := h.missing(); why != "" {
			t.add(h.Subject, h.Flood, why)
			continue
		}
		t.add(h.Subject, h.Flood, mega(h.Offered), fmt.Sprintf("%.1f%%", 100*h.LinkLoss), fmt.Sprintf("%d of %d", h.Succeeded, h.Tried),
			fmt.Sprintf("%.1f", h.P50), fmt.Sprintf("%.1f", h.P99), percent(h.Busy))
	}
	return t
}

// missing is the reason why a stream has no figures, "" if it has.
func (s *Stream) missing() string {
	switch {
	case s.Skipped != "":
		return "skipped: " + s.Skipped
	case 2*s.Valid < s.Rounds:
		return fmt.Sprintf("disturbed: %d of %d rounds are good (%s)", s.Valid, s.Rounds, s.Disturbed)
	}
	return ""
}

func (o *Outcome) streams() Table {
	t := Table{Title: "round trips at full load", Head: []string{"", "bytes", "per s", "spread", "per s of CPU", "spread", "us of CPU each", "busy", "rounds"}}
	for i := range o.Streams {
		s := &o.Streams[i]
		if why := s.missing(); why != "" {
			t.add(s.Subject, fmt.Sprint(s.Size), why)
			continue
		}
		core := []string{"-", "-", "-"}
		if s.PerCore.Median > 0 {
			core = []string{whole(s.PerCore.Median), whole(s.PerCore.Low) + "-" + whole(s.PerCore.High), fmt.Sprintf("%.2f", 1e6/s.PerCore.Median)}
		}
		t.add(s.Subject, fmt.Sprint(s.Size), whole(s.Rate.Median), whole(s.Rate.Low)+"-"+whole(s.Rate.High),
			core[0], core[1], core[2], percent(s.Busy), fmt.Sprintf("%d/%d", s.Valid, s.Rounds))
	}
	if len(t.Rows) > 0 {
		t.note("busy below 90%%: clients and server on the other CPU limited the rate; compare the figures per second of CPU")
	}
	return t
}

func (o *Outcome) latencies() Table {
	t := Table{Title: "latency of a round trip at a moderate rate, us", Head: []string{"", "bytes", "per s", "p50", "spread", "p99", "spread", "p99.9", "spread", "lost"}}
	for i := range o.Streams {
		s := &o.Streams[i]
		if s.missing() != "" {
			continue
		}
		cells := []string{s.Subject, fmt.Sprint(s.Size), whole(s.Offered)}
		for _, p := range []Spread{s.P50, s.P99, s.P999} {
			cells = append(cells, whole(p.Median), whole(p.Low)+"-"+whole(p.High))
		}
		t.add(append(cells, fmt.Sprintf("%.2f%%", 100*s.Lost))...)
	}
	return t
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }

func (o *Outcome) memory() Table {
	t := Table{Title: "MiB", Head: []string{"", "resident", "BPF maps"}}
	for i := range o.Memory {
		m := &o.Memory[i]
		if m.Skipped != "" {
			t.add(m.Subject, "skipped: "+m.Skipped)
			continue
		}
		t.add(m.Subject, mebi(m.Resident), mebi(m.MapBytes()))
	}
	return t
}

// maps returns the table of BPF maps in the last state that has any.
func (o *Outcome) maps() Table {
	t := Table{Title: "BPF maps, MiB", Head: []string{"map", "memory"}}
	for i := len(o.Memory) - 1; i >= 0 && len(t.Rows) == 0; i-- {
		for _, m := range o.Memory[i].Maps {
			t.add(m.Name, mebi(m.Bytes))
		}
	}
	return t
}

func mebi(v uint64) string { return fmt.Sprintf("%.2f", float64(v)/(1<<20)) }
