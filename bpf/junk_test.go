package bpf

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Whatever the first look drops as junk, the rest of the program would drop and count in the same way: with a prefix on the
// deny list, even another one, the first look drops nothing.
func TestJunkIsDroppedAsBefore(t *testing.T) {
	pinned(t, func() {
		const frames = 40_000
		m := gateMaker()
		f := m.families[0]
		specific := Service{ServiceKey: ServiceKey{f.service, 4433}, Answer: AnswerXDP}
		for name, s := range map[string]Service{
			"an address": specific, "all addresses": {ServiceKey: ServiceKey{Port: 4433}, Answer: AnswerXDP},
			"IPv6 alone": {ServiceKey: ServiceKey{netip.IPv6Unspecified(), 4433}, Answer: AnswerXDP},
			"monitor":    {ServiceKey: specific.ServiceKey, Answer: AnswerXDP, Monitor: true},
			"a class":    {ServiceKey: specific.ServiceKey, Answer: AnswerXDP, Pass: ClassSTUN},
			"all pass":   {ServiceKey: specific.ServiceKey, Answer: AnswerXDP, Unverified: UnverifiedPass},
		} {
			first, rest := guarding(t, s), guarding(t, s)
			need(t, rest.SetPrefixes(map[netip.Prefix]bool{netip.MustParsePrefix("203.0.113.0/24"): true}))
			junk := func(c *Counters) bool { return c.Verdict[DropUnverified] == 1 && c.Reason[hello.NotDTLS] == 1 }
			kind := func(g *Programs, frame []byte) (uint32, Counters) {
				before := counters(t, g)
				action, err := g.progs.Dtlsguard.Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, 1<<16)})
				need(t, err)
				now := counters(t, g)
				for i := range now.Verdict {
					now.Verdict[i] -= before.Verdict[i]
					now.Bytes[i] -= before.Bytes[i]
				}
				for i := range now.Reason {
					now.Reason[i] -= before.Reason[i]
				}
				return action, Counters{Verdict: now.Verdict, Bytes: now.Bytes, Reason: now.Reason}
			}
			for sent := 0; sent < frames/6; {
				for _, frame := range m.next() {
					sent++
					a, counted := kind(first, frame)
					b, wanted := kind(rest, frame)
					if (junk(&counted) || junk(&wanted)) && (a != b || counted != wanted) { // early fragments have a rate
						t.Fatalf("%s: action %d, %+v; want %d, %+v:\n%s", name, a, counted, b, wanted, hex.EncodeToString(frame))
					}
				}
			}
		}
	})
}
