package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

func emptyXDP() *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()}}
}

// The program for several buffers answers in the first one and drops the others.
func TestSeveralBuffers(t *testing.T) {
	g := guarding(t, inline())
	for name, make := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		for _, padding := range []int{0, 3000, 9000} {
			p := make(firstHello)
			p.Padding = padding
			frame := p.bytes()
			o := ebpf.RunOptions{Data: frame, DataOut: append([]byte(nil), frame...)}
			before := counters(t, g)
			action, err := g.frags.Run(&o)
			if err != nil {
				t.Fatal(err)
			}
			if got := moved(t, g, before); action != xdpTx || got != answered {
				t.Errorf("%s with %d bytes after it: action %d, %s", name, padding, action, got)
				continue
			}
			checkAnswer(t, name, p, o.DataOut, 0)
		}
	}
}

// The lengths at the end of a long ClientHello are checked even if they are in a later buffer.
func TestRulesReachIntoLaterBuffers(t *testing.T) {
	g := guarding(t, inline())
	const suites = 8000
	hello := func(methods byte) []byte {
		b := newBuilder(suites)
		b.Tail = append(b.Tail, methods, 0)
		return b.Bytes()
	}
	for _, c := range []struct {
		methods byte
		want    string
	}{{1, answered}, {0, "drop-malformed reason:bad-body"}, {2, "drop-malformed reason:bad-body"}} {
		before := counters(t, g)
		frame := newPacket(hello(c.methods)).bytes()
		if _, err := g.frags.Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame))}); err != nil {
			t.Fatal(err)
		}
		if got := moved(t, g, before); got != c.want {
			t.Errorf("%d compression methods: %s, want %s", c.methods, got, c.want)
		}
	}
}
