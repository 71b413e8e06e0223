package bpf

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// A flow that was seen a moment ago ends with its removal: its client's next record is dropped, and its server's next one is learned.
func TestRecentFlowsEnd(t *testing.T) {
	for name, remove := range map[string]func(*Programs) error{
		"deleted": func(g *Programs) error { return g.DeleteFlow(inline().ServiceKey, client4) },
		"evicted": func(g *Programs) error {
			_, err := g.EvictFlows(func(ServiceKey) time.Duration { return time.Nanosecond }, 0)
			return err
		},
	} {
		g := guarding(t, inline())
		sends := func(want string) {
			t.Helper()
			before := counters(t, g)
			send(t, g, back(newPacket(appData)))
			if got := moved(t, g, before); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		known := step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"}
		unknown := step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"}
		pinned(t, func() { // recent flows are those of a CPU
			check(t, g, name, unknown)
			sends("egress:learned")
			check(t, g, name, known, known)
			sends("egress:established")
			noError(t, remove(g))
			check(t, g, name, unknown)
			sends("egress:learned")
			check(t, g, name, known, known)
			sends("egress:established")
			noError(t, remove(g))
			sends("egress:learned")
		})
	}
}

// Whatever the first look passes as a record of a recent flow, the rest of the program would pass and count in the same way: with a
// prefix on the deny list, even another one, the first look passes nothing. The same at egress, with a service in mode reset.
func TestRecentFlowsPassAsOthers(t *testing.T) {
	pinned(t, func() {
		const frames = 6000
		r := rand.New(rand.NewPCG(20, 7))
		reset := inline()
		reset.Admission = Admission{Reset: true, DTLS12: true}
		first, rest := guarding(t, inline()), guarding(t, reset)
		need(t, rest.SetPrefixes(map[netip.Prefix]bool{netip.MustParsePrefix("203.0.113.0/24"): true}))
		records := [][]byte{appData, alert, later, {0x2f, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8}, {25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 9, 9}}
		for i := range frames {
			build, source := newPacket, netip.AddrPortFrom(client4.Addr(), uint16(5000+r.IntN(40)))
			if r.IntN(3) == 0 {
				build, source = newPacket6, netip.AddrPortFrom(newPacket6(nil).Src.Addr(), source.Port())
			}
			p := from(build(append([]byte(nil), records[r.IntN(len(records))]...)), source)
			if out := r.IntN(3) == 0; out {
				p = back(p)
			}
			frame := p.bytes()
			for range r.IntN(3) * r.IntN(2) {
				frame[12+r.IntN(len(frame)-12)] ^= 1 << r.IntN(8)
			}
			if i%100 == 0 {
				for _, g := range []*Programs{first, rest} {
					noError(t, g.DeleteFlow(inline().ServiceKey, source))
				}
			}
			var actions [2]uint32
			var counted [2]string
			for j, g := range []*Programs{first, rest} {
				prog := g.progs.Dtlsguard
				if p.Src.Port() == 4433 {
					prog = g.progs.Egress
				}
				before := counters(t, g)
				action, err := prog.Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, 1<<16)})
				need(t, err)
				actions[j], counted[j] = action, moved(t, g, before)
			}
			if actions[0] != actions[1] || counted[0] != counted[1] {
				t.Fatalf("frame %d: action %d, %s; want %d, %s:\n%s", i, actions[0], counted[0], actions[1], counted[1], hex.EncodeToString(frame))
			}
		}
		if a, b := counters(t, first), counters(t, rest); a != b {
			t.Errorf("counted %+v, want %+v", a, b)
		}
	})
}
