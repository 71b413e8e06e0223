package result

// Cost is what something takes, in ns.
type Cost struct {
	Subject string `json:"subject"`
	Spread
}

func (o *Outcome) costs() Table {
	t := Table{Title: "ns", Head: []string{"", "ns", "spread"}}
	for i := range o.Costs {
		c := &o.Costs[i]
		t.add(c.Subject, whole(c.Median), whole(c.Low)+"-"+whole(c.High))
	}
	return t
}
