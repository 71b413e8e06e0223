package attack

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Reasons are datagrams by why they were dropped.
type Reasons map[string]uint64

// String lists the reasons, the most frequent first.
func (r Reasons) String() string {
	names := make([]string, 0, len(r))
	for name := range r {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(r[b], r[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s:%d", name, r[name])
	}
	return strings.Join(names, ",")
}

// MarshalJSON writes an object.
func (r Reasons) MarshalJSON() ([]byte, error) { return json.Marshal(map[string]uint64(r)) }

// Prefix is a source of many datagrams: a /24 or a /48.
type Prefix struct {
	Prefix    netip.Prefix `json:"prefix"`
	Share     float64      `json:"share"`     // of all, 0 to 1
	Datagrams uint64       `json:"datagrams"` // estimated from samples
}

// Prefixes are the sources of most datagrams, the largest first. There are none if the addresses are forged from everywhere.
type Prefixes []Prefix

// String is the prefixes and their shares.
func (p Prefixes) String() string {
	text := make([]string, len(p))
	for i := range p {
		text[i] = fmt.Sprintf("%v:%.0f%%", p[i].Prefix, 100*p[i].Share)
	}
	return strings.Join(text, ",")
}

// MarshalJSON writes a list even if it is empty.
func (p Prefixes) MarshalJSON() ([]byte, error) { return json.Marshal(append([]Prefix{}, p...)) }
