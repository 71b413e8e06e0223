package bpf

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// versionsOf is what handoff calls a service's versions.
func versionsOf(a Admission) (v handoff.Versions) {
	if a.DTLS12 {
		v |= handoff.Serves12
	}
	if a.DTLS13 {
		v |= handoff.Serves13
	}
	return v
}

// resetting is a service whose clients prove their address by beginning again.
func resetting(a Admission) Service {
	s := inline()
	a.Reset = true
	s.Admission, s.FlowHellos = a, true
	return s
}

// resetModel is the decision in Go: package handoff's verifier, on a set of its own.
type resetModel struct {
	verifier handoff.Verifier
	gate     *addresses.Gate
	now      int64
	ring     *cookie.Keyring
	flows    map[netip.AddrPort]bool
}

func newResetModel(a Admission, ring *cookie.Keyring) *resetModel {
	m := &resetModel{ring: ring, flows: make(map[netip.AddrPort]bool), now: int64(monotonic())}
	m.gate = addresses.NewGate(addresses.NewSet([2]uint64{1}, 3600), new(atomic.Pointer[addresses.Table]), addresses.Policy{})
	m.verifier = handoff.NewInline(handoff.Fit{Mode: handoff.Reset, Serves: versionsOf(a)},
		handoff.Config{Cookies: cookie.Measured(), Gate: m.gate, Now: func() int64 { return m.now }}, 1)
	return m
}

// decide returns the verdict on a datagram, and its answer.
func (m *resetModel) decide(src netip.AddrPort, d []byte) (Verdict, []byte) {
	h := make([]handoff.Hello, 1)
	switch r := hello.Parse(d, &h[0].ClientHello); {
	case r >= hello.Malformed:
		return DropMalformed, nil
	case r == hello.NotDTLS, r != hello.OK && !m.flows[src]:
		return DropUnverified, nil
	case r != hello.OK:
		return PassFlow, nil
	}
	h[0].Binding = cookie.Bind(src, 4433, h[0].Version, h[0].Random)
	m.verifier.Verify(m.ring, h)
	if len(h[0].Cookie) > 0 && m.flows[src] {
		return PassFlow, nil
	}
	q := bytes.Clone(d)
	answered := func(n int) (Verdict, []byte) {
		if n == 0 {
			return DropBadSource, nil
		}
		return Answered, q[:n]
	}
	switch h := &h[0]; {
	case h.Verified:
		m.flows[src] = true
		return PassAddress, nil
	case h.Action == handoff.ActionVerify:
		return answered(hello.PutHelloVerify(q, h.Answer[:h.Length]))
	case h.Action == handoff.ActionRetry:
		h.Retry.Cookie = h.Answer[:h.Length]
		return answered(hello.PutRetry(q, &h.Retry))
	case h.Action == handoff.ActionNoRetry:
		return DropNoRetry, nil
	case h.Action == handoff.ActionBadRetry:
		return DropBadRetry, nil
	}
	mark := uint32(hello.SequenceOf(d).Record)
	for i := range 4 {
		mark ^= uint32(h[0].Random[i]) << (8 * i)
	}
	if !m.gate.Prove(&h[0].Binding.Source, mark, m.now) {
		return DropResetBefore, nil
	}
	return Reset, q[:hello.PutReset(q)]
}

// mutate13 makes datagrams that are nearly ClientHellos of DTLS 1.2 and 1.3, with and without right cookies.
func mutate13(r *rand.Rand, seeds [][]byte, keys []*cookie.Key, src netip.AddrPort, buf []byte) []byte {
	d := append(buf[:0], seeds[r.IntN(len(seeds))]...)
	if r.IntN(2) == 0 {
		b := hellotest.New()
		b.Random[0], b.Random[31] = byte(r.Uint32()), byte(r.IntN(4))
		b.SessionID = b.Random[:r.IntN(33)]
		binding := cookie.Bind(src, 4433, b.Version, &b.Random)
		if r.IntN(2) == 0 {
			binding.Purpose = cookie.HelloRetry
		}
		c := keys[r.IntN(len(keys))].Issue(&binding)
		var extensions [][]byte
		if r.IntN(2) == 0 {
			extensions = append(extensions, hellotest.Extension(10, 0, 2, 0, 0x1d))
		}
		switch r.IntN(3) {
		case 0:
			b.Cookie, b.MessageSeq, b.RecordSeq = c[:], 1, r.Uint32N(3)
		case 1:
			extensions = append(extensions, hellotest.Cookie13(c[:]...))
			b.MessageSeq, b.RecordSeq = 1, r.Uint32N(3)
		}
		if r.IntN(3) > 0 {
			b.Tail = hellotest.Tail13(append(extensions, hellotest.Extension(21, make([]byte, r.IntN(60))...))...)
		}
		if r.IntN(6) == 0 {
			b.MessageLength, b.FragmentLength = 42+len(b.SessionID)+len(b.Cookie)+len(b.Tail), 36+r.IntN(60)
		}
		d = append(buf[:0], b.Bytes()...)
	}
	for range r.IntN(3) {
		if len(d) > 0 {
			i := r.IntN(min(len(d), 240))
			d[i] = []byte{byte(r.Uint32()), d[i] ^ 1<<r.IntN(8), d[i] + byte(r.IntN(5)) - 2, 0}[r.IntN(4)]
		}
	}
	if r.IntN(10) == 0 {
		d = d[:r.IntN(len(d)+1)]
	}
	return d
}

// The kernel and Go agree on what becomes of a million mutated ClientHellos, whatever the server speaks: verdict, and the
// bytes of HelloVerifyRequests, HelloRetryRequests and alerts.
func TestResetDifferential(t *testing.T) {
	const inputs = 1 << 20 / 3
	for name, a := range map[string]Admission{"1.2": {DTLS12: true}, "1.3": {DTLS13: true}, "both": {DTLS12: true, DTLS13: true}} {
		t.Run(name, func(t *testing.T) { resetDifferential(t, a, inputs) })
	}
}

func resetDifferential(t *testing.T, a Admission, inputs int) {
	ring, err := testRing.Next(otherSecret, 0x5b)
	if err != nil {
		t.Fatal(err)
	}
	g := guarding(t, resetting(a))
	if err := g.SetSecret(ring.Current(), ring.Previous()); err != nil {
		t.Fatal(err)
	}
	if err := g.SetAddressLifetime(time.Hour); err != nil {
		t.Fatal(err)
	}
	memory, seed, err := g.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	set := addresses.SetOf(memory, seed, 3600)
	var seeds [][]byte
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		seeds = append(seeds, c.Datagram)
	}
	for _, r := range hellotest.Retries() {
		seeds = append(seeds, r.Hello)
	}
	m := newResetModel(a, ring)
	r := rand.New(rand.NewPCG(13, 13))
	keys := []*cookie.Key{ring.Current(), ring.Previous(), cookie.NewKeyring(straySecret, 0x5b).Current()}
	buf, out := make([]byte, 0, 4096), make([]byte, 4096)
	var peers []netip.AddrPort
	for i := range uint16(64) {
		peers = append(peers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 9, byte(i)}), 30000+i),
			netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 7: byte(i) + 1, 15: 9}), 30000+i))
	}
	var src netip.AddrPort
	var d []byte
	seen := make(map[Verdict]int)
	before := counters(t, g)
	for i := 1; i <= inputs; i++ {
		if i%256 == 0 { // forget, or soon all is known
			p := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			if r.IntN(2) == 0 {
				p = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			}
			if n, o := set.Remove(p), m.gate.Set.Remove(p); n != o {
				t.Fatalf("up to input %d the kernel noted %d addresses, Go %d", i, n, o)
			}
			clear(m.flows)
			if err := g.Flows(func(f Flow) bool { return g.DeleteFlow(f.Service, f.Peer) == nil }); err != nil {
				t.Fatal(err)
			}
		}
		if r.IntN(8) > 0 || i == 1 { // else the same again
			src = peers[r.IntN(len(peers))]
			d = mutate13(r, seeds, keys, src, buf)
		}
		p := packet{Src: src, Dst: server4, UDPLen: -1, TotalLen: -1, Protocol: 17, Payload: d}
		if src.Addr().Is6() {
			p.Dst = server6
		}
		want, answer := m.decide(src, d)
		seen[want]++
		before.Verdict[want]++
		o := ebpf.RunOptions{Data: p.bytes(), DataOut: out}
		action, err := g.progs.Dtlsguard.Run(&o)
		if err != nil {
			t.Fatal(err)
		}
		if (action == xdpTx) != (answer != nil) || answer != nil && !bytes.HasSuffix(o.DataOut, answer) || len(o.DataOut) > len(o.Data) && answer != nil {
			t.Fatalf("input %d from %v: action %d, want %v\nquestion %x\nanswer   %x\nwant     %x", i, src, action, want, d, o.DataOut, answer)
		}
		if answer != nil && !checksumIsRight(o.DataOut) {
			t.Fatalf("input %d: the checksum of %s is wrong", i, hex.EncodeToString(o.DataOut))
		}
		if i%256 == 0 {
			if now := counters(t, g); now.Verdict != before.Verdict {
				t.Fatalf("up to input %d: verdicts\n%v, want\n%v", i, now.Verdict, before.Verdict)
			}
		}
	}
	t.Log(seen)
	for _, v := range []Verdict{PassAddress, PassFlow, Answered, Reset, DropResetBefore} {
		if seen[v] < inputs/2000 {
			t.Errorf("only %d inputs were %v", seen[v], v)
		}
	}
}

// checksumIsRight checks the UDP checksum of a frame without options or extension headers.
func checksumIsRight(frame []byte) bool {
	var src, dst netip.Addr
	var udp []byte
	if frame[12] == 0x08 {
		src, dst, udp = netip.AddrFrom4([4]byte(frame[26:])), netip.AddrFrom4([4]byte(frame[30:])), frame[34:]
	} else {
		src, dst, udp = netip.AddrFrom16([16]byte(frame[22:])), netip.AddrFrom16([16]byte(frame[38:])), frame[54:]
	}
	return checksum(pseudo(src, dst, len(udp)), udp) == 0
}
