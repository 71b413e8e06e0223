package bpf

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// formula computes a cookie format in Go.
type formula struct {
	format Format
	issue  func(*cookie.Key, *cookie.Binding) []byte
	size   int // of its cookies
	// verify returns the state of a cookie of that size.
	verify func(*cookie.Keyring, *cookie.Binding, []byte) CookieState
}

var formulaV1 = formula{FormatV1, func(k *cookie.Key, b *cookie.Binding) []byte { c := k.Issue(b); return c[:] }, cookie.Size, func(ring *cookie.Keyring, b *cookie.Binding, c []byte) CookieState {
	switch {
	case ring.Verify(b, c):
		return CookieValid
	case ring.ForCookie(c) == nil:
		return CookieExpired
	}
	return CookieWrong
}}

var formulaV2 = formula{FormatV2, func(k *cookie.Key, b *cookie.Binding) []byte { c := k.IssueV2(b); return c[:] }, cookie.SizeV2, func(ring *cookie.Keyring, b *cookie.Binding, c []byte) CookieState {
	switch {
	case ring.VerifyV2(b, c):
		return CookieValid
	case c[0] != ring.Current().KeyID() && c[0] != ring.Previous().KeyID():
		return CookieExpired
	}
	return CookieWrong
}}

// model decides in Go, by packages hello and cookie alone.
type model struct {
	formula
	ring  *cookie.Keyring
	flows map[netip.AddrPort]bool
	want  Counters // what the kernel's counters must have grown by
}

// decide returns the action for a datagram to port 4433, and its answer.
func (m *model) decide(src netip.AddrPort, d []byte) (uint32, []byte) {
	var h hello.ClientHello
	r := hello.Parse(d, &h)
	m.want.Reason[r]++
	switch {
	case r >= hello.Malformed:
		m.want.Verdict[DropMalformed]++
		return xdpDrop, nil
	case r == hello.NotDTLS, r != hello.OK && !m.flows[src]:
		m.want.Verdict[DropUnverified]++
		return xdpDrop, nil
	case r != hello.OK:
		m.want.Verdict[PassFlow]++
		return xdpPass, nil
	}
	b := cookie.Binding{Source: src.Addr().As16(), SourcePort: src.Port(), DestinationPort: 4433, Version: h.Version, Random: h.Random}
	var state CookieState
	switch len(h.Cookie) {
	case 0:
		state = CookieNone
	case m.size:
		state = m.verify(m.ring, &b, h.Cookie)
	default:
		state = CookieForeign
	}
	m.want.Cookie[state]++
	if state == CookieValid {
		m.flows[src] = true
		m.want.Verdict[PassVerified]++
		return xdpPass, nil
	}
	m.want.Verdict[Answered]++
	c := m.issue(m.ring.Current(), &b)
	q := bytes.Clone(d)
	return xdpTx, q[:hello.PutHelloVerify(q, c)]
}

// mutator makes near-ClientHellos.
type mutator struct {
	formula
	r     *rand.Rand
	seeds [][]byte
	keys  []*cookie.Key
	buf   []byte
}

func (m *mutator) next(src netip.AddrPort) []byte {
	r := m.r
	d := m.buf[:copy(m.buf, m.seeds[r.IntN(len(m.seeds))])]
	if r.IntN(3) == 0 { // an own cookie in a random hello
		b := hellotest.New()
		for i := range b.Random {
			b.Random[i] = byte(r.Uint32())
		}
		b.SessionID = b.Random[:r.IntN(33)]
		b.Tail = append(b.Tail, make([]byte, r.IntN(40))...)
		binding := bindingOf(src, 4433, b.Bytes())
		c := m.issue(m.keys[r.IntN(len(m.keys))], &binding)
		b.Cookie, b.MessageSeq = c, 1
		d = m.buf[:copy(m.buf, b.Bytes())]
	}
	for range r.IntN(3) {
		if len(d) == 0 {
			break
		}
		switch i := r.IntN(min(len(d), 140)); r.IntN(4) {
		case 0:
			d[i] = byte(r.Uint32())
		case 1:
			d[i] ^= 1 << r.IntN(8)
		case 2:
			d[i] += byte(r.IntN(5)) - 2
		case 3:
			d[[]int{11, 12, 14, 15, 16, 20, 21, 23, 24, 59, 60}[r.IntN(11)]%len(d)] = byte(r.IntN(256) * r.IntN(2))
		}
	}
	if r.IntN(8) == 0 {
		d = d[:r.IntN(len(d)+1)]
	}
	return d
}

// The kernel and Go agree on each of a million mutated ClientHellos: action, flow, cookie, the bytes of
// the answer, and, summed over a batch, verdict, reason and state of the cookie.
func TestDifferential(t *testing.T) {
	t.Run("v1", func(t *testing.T) { differential(t, formulaV1, 1<<20) })
	t.Run("v2", func(t *testing.T) { differential(t, formulaV2, 1<<20) })
	t.Run("qt", func(t *testing.T) { differential(t, formulaQt, 1<<18) })
}

func differential(t *testing.T, f formula, inputs int) {
	const batch, seed = 256, 20
	ring, err := testRing.Next(otherSecret, 0x5b)
	if err != nil {
		t.Fatal(err)
	}
	stray := cookie.NewKeyring(straySecret, 0x5b).Current()
	s := inline()
	s.Format = f.format
	g := guarding(t, s)
	if err := g.SetSecret(ring.Current(), ring.Previous()); err != nil {
		t.Fatal(err)
	}
	mut := mutator{formula: f, r: rand.New(rand.NewPCG(seed, seed)), keys: []*cookie.Key{ring.Current(), ring.Previous(), stray}, buf: make([]byte, 4096)}
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		mut.seeds = append(mut.seeds, c.Datagram)
	}
	m := model{formula: f, ring: ring, flows: make(map[netip.AddrPort]bool)}
	var peers []netip.AddrPort
	for i := range uint16(64) {
		peers = append(peers, netip.AddrPortFrom(client4.Addr(), 30000+i), netip.AddrPortFrom(client6.Addr(), 30000+i))
	}
	out := make([]byte, 4096)
	before := counters(t, g)
	for i := 1; i <= inputs; i++ {
		src := peers[mut.r.IntN(len(peers))]
		p := packet{Src: src, Dst: server4, UDPLen: -1, TotalLen: -1, Protocol: 17, Payload: mut.next(src)}
		if src.Addr().Is6() {
			p.Dst = server6
		}
		if i%4096 == 0 {
			clear(m.flows) // start again with none
			g.Flows(func(f Flow) bool { return g.DeleteFlow(f.Service, f.Peer) == nil })
		}
		want, answer := m.decide(src, p.Payload)
		o := ebpf.RunOptions{Data: p.bytes(), DataOut: out}
		got, err := g.progs.Dtlsguard.Run(&o)
		if err != nil {
			t.Fatal(err)
		}
		if got != want || got == xdpTx && !bytes.Equal(o.DataOut[len(o.DataOut)-len(answer):], answer) {
			t.Fatalf("input %d of seed %d: action %d, want %d\nquestion %s\nanswer   %s\nwant     %s", i, seed, got, want,
				hex.EncodeToString(p.Payload), hex.EncodeToString(o.DataOut), hex.EncodeToString(answer))
		}
		if i%batch == 0 {
			now := counters(t, g)
			if sum := plus(before, m.want); now != sum {
				t.Fatalf("up to input %d of seed %d: counters\n%+v, want\n%+v", i, seed, now, sum)
			}
		}
	}
	for v, n := range m.want.Verdict {
		t.Logf("%8d %v", n, Verdict(v))
	}
	for state, n := range m.want.Cookie {
		if n < uint64(inputs/1000) && (f.format != FormatQt || CookieState(state) != CookieExpired) {
			t.Errorf("only %d cookies were %v", n, CookieState(state))
		}
	}
	for _, n := range []uint64{m.want.Verdict[PassVerified], m.want.Verdict[PassFlow]} {
		if n < uint64(inputs/1000) {
			t.Errorf("only %d of a kind that matters: %+v", n, m.want)
		}
	}
	for r, n := range m.want.Reason {
		if n == 0 {
			t.Errorf("no input was %v", hello.Reason(r))
		}
	}
}

func plus(a, b Counters) Counters {
	for i := range b.Verdict {
		a.Verdict[i] += b.Verdict[i]
	}
	for i := range b.Reason {
		a.Reason[i] += b.Reason[i]
	}
	for i := range b.Cookie {
		a.Cookie[i] += b.Cookie[i]
	}
	return a
}
