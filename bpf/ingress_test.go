package bpf

import (
	"bytes"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// wireVerdict is what a datagram without a flow comes to where everything unverified is dropped and no cookie
// is valid.
func wireVerdict(r hello.Reason) (Verdict, uint32) {
	switch {
	case r == hello.OK:
		return Answered, xdpTx
	case r >= hello.Malformed:
		return DropMalformed, xdpDrop
	}
	return DropUnverified, xdpDrop
}

// Every wire rule, over both families: verdict, reason, and for ClientHellos the very answer that package
// hello builds.
func TestWireRules(t *testing.T) {
	g := guarding(t, inline())
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		for _, p := range []*packet{newPacket(c.Datagram), newPacket6(c.Datagram)} {
			before := counters(t, g)
			frame := p.bytes()
			action, out := run(t, g, frame)
			verdict, want := wireVerdict(c.Want)
			now := counters(t, g)
			if action != want || now.Verdict[verdict] != before.Verdict[verdict]+1 || now.Reason[c.Want] != before.Reason[c.Want]+1 || now.Packets() != before.Packets()+1 {
				t.Errorf("%s: action %d, %s; want %d, %v for %v", c.Name, action, moved(t, g, before), want, verdict, c.Want)
			}
			if action == xdpTx {
				checkAnswer(t, c.Name, p, out, 0)
			} else if !bytes.Equal(out, frame) {
				t.Errorf("%s: the frame was changed", c.Name)
			}
		}
	}
}

// checkAnswer compares out with the HelloVerifyRequest that Go code gives for p.
func checkAnswer(t *testing.T, name string, p *packet, out []byte, vlans int) {
	t.Helper()
	src, dst, d := udpOf(t, out, vlans)
	if src != p.Dst || dst != p.Src {
		t.Errorf("%s: answered from %v to %v", name, src, dst)
	}
	if !bytes.Equal(out[:6], p.MACs[6:]) || !bytes.Equal(out[6:12], p.MACs[:6]) {
		t.Errorf("%s: MAC addresses % x", name, out[:12])
	}
	q := bytes.Clone(p.Payload)
	if p.Whole != nil {
		q = bytes.Clone(p.Whole)
	}
	ck := wantCookie(testRing.Current(), p.Src, p.Dst.Port(), q)
	if n := hello.PutHelloVerify(q, ck[:]); !bytes.Equal(q[:n], d) {
		t.Errorf("%s: answered\n%x, want\n%x", name, d, q[:n])
	}
}
