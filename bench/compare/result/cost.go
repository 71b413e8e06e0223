package result

import "fmt"

// Cost is the time of an operation in ns.
type Cost struct {
	Subject string `json:"subject"`
	Spread
	Rounds    int    `json:"rounds"`
	Valid     int    `json:"valid"`               // undisturbed rounds
	Disturbed string `json:"disturbed,omitempty"` // what disturbed one of the other rounds
}

// missing is the reason why c has no figure, "" if it has one.
func (c *Cost) missing() string {
	if 2*c.Valid < c.Rounds {
		return fmt.Sprintf("disturbed: %d of %d rounds are good (%s)", c.Valid, c.Rounds, c.Disturbed)
	}
	return ""
}

func (o *Outcome) costs() Table {
	t := Table{Title: "ns", Head: []string{"", "ns", "spread", "rounds"}}
	for i := range o.Costs {
		c := &o.Costs[i]
		if why := c.missing(); why != "" {
			t.add(c.Subject, why)
			continue
		}
		t.add(c.Subject, whole(c.Median), whole(c.Low)+"-"+whole(c.High), fmt.Sprintf("%d/%d", c.Valid, c.Rounds))
	}
	return t
}
