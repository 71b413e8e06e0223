package addresses

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// Verdict is a list's decision on an address.
type Verdict uint8

// The verdicts.
const (
	None Verdict = iota
	Allow
	Deny
)

var verdictNames = [...]string{"none", "allow", "deny"}

// String is the name of the list.
func (v Verdict) String() string { return verdictNames[v] }

// MarshalText writes the name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads it.
func (v *Verdict) UnmarshalText(text []byte) error {
	i := slices.Index(verdictNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("no list is called %q", text)
	}
	*v = Verdict(i)
	return nil
}

// ipv4 is all addresses of IPv4.
var ipv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

// number is an address as a number of 128 bits.
type number struct{ high, low uint64 }

func numberOf(ip *[16]byte) number {
	return number{binary.BigEndian.Uint64(ip[:]), binary.BigEndian.Uint64(ip[8:])}
}

func (n number) compare(o number) int {
	return cmp.Or(cmp.Compare(n.high, o.high), cmp.Compare(n.low, o.low))
}

func (n number) next() number {
	if n.low++; n.low == 0 {
		n.high++
	}
	return n
}

// ends are the first and the last address of p, IPv4 as v4-mapped.
func ends(p netip.Prefix) (first, last number) {
	a := p.Masked().Addr().As16()
	first = numberOf(&a)
	host := 128 - bits128(p)
	last = first
	if host >= 64 {
		last.low = ^uint64(0)
		last.high |= 1<<(host-64) - 1
	} else {
		last.low |= 1<<host - 1
	}
	return first, last
}

// bits128 is the length of p among addresses of 128 bits.
func bits128(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 96 + p.Bits()
	}
	return p.Bits()
}

// Table is a set of prefixes with a verdict each, cut into ranges that do not overlap. Immutable.
type Table struct {
	starts   []number
	verdicts []Verdict // from the start up to the next
}

// NewTable makes the table of rules: the longest prefix that an address is in decides.
func NewTable(rules map[netip.Prefix]Verdict) *Table {
	type span struct {
		first, last number
		bits        int
		verdict     Verdict
	}
	spans := make([]span, 0, len(rules)+1)
	add := func(p netip.Prefix, v Verdict) {
		first, last := ends(p)
		spans = append(spans, span{first, last, bits128(p), v})
	}
	for p, v := range rules {
		add(p, v)
	}
	if _, said := rules[ipv4]; !said && len(rules) > 0 {
		add(ipv4, None) // ::/0 is all of IPv6, and says nothing of the mapped addresses in it
	}
	// Prefixes are inside each other or apart, so those around an address are a stack, the longest on top.
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.first.compare(b.first), cmp.Compare(a.bits, b.bits)) })
	t := new(Table)
	var around []span
	leave := func() {
		end := around[len(around)-1].last
		around = around[:len(around)-1]
		v := None
		if len(around) > 0 {
			v = around[len(around)-1].verdict
		}
		if end != (number{^uint64(0), ^uint64(0)}) {
			t.begin(end.next(), v)
		}
	}
	for _, s := range spans {
		for len(around) > 0 && around[len(around)-1].last.compare(s.first) < 0 {
			leave()
		}
		around = append(around, s)
		t.begin(s.first, s.verdict)
	}
	for len(around) > 0 {
		leave()
	}
	return t
}

// begin begins a range.
func (t *Table) begin(at number, v Verdict) {
	if n := len(t.starts); n > 0 && t.starts[n-1] == at {
		t.verdicts[n-1] = v
		return
	}
	t.starts, t.verdicts = append(t.starts, at), append(t.verdicts, v)
}

// Empty reports whether there is no prefix in t, which may be nil.
func (t *Table) Empty() bool { return t == nil || len(t.starts) == 0 }

// Of is the verdict on ip. A nil Table has no verdicts.
func (t *Table) Of(ip *[16]byte) Verdict {
	if t.Empty() {
		return None
	}
	n := numberOf(ip)
	low, high := 0, len(t.starts) // the range of ip is the last one that starts at or before it
	for low < high {
		if m := int(uint(low+high) >> 1); t.starts[m].compare(n) <= 0 {
			low = m + 1
		} else {
			high = m
		}
	}
	if low == 0 {
		return None
	}
	return t.verdicts[low-1]
}
