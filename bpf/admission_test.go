package bpf

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
)

// mutations is how many datagrams TestAdmissionDifferential compares in each of its modes.
var mutations = flag.Int("mutations", 1<<15, "datagrams that kernel and Go must agree on, for each way to admit clients")

// mutate13 makes near-ClientHellos of DTLS 1.2 and 1.3, with and without valid cookies.
func mutate13(r *rand.Rand, f formula, seeds [][]byte, keys []*cookie.Key, src netip.AddrPort, buf []byte) []byte {
	d := append(buf[:0], seeds[r.IntN(len(seeds))]...)
	if r.IntN(2) == 0 {
		b := hellotest.New()
		b.Random[0], b.Random[31] = byte(r.Uint32()), byte(r.IntN(4))
		b.SessionID = b.Random[:r.IntN(33)]
		binding := cookie.Bind(src, 4433, b.Version, &b.Random)
		if r.IntN(2) == 0 {
			binding.Purpose = cookie.HelloRetry
		}
		c := f.issue(keys[r.IntN(len(keys))], &binding)
		var extensions [][]byte
		if r.IntN(2) == 0 {
			extensions = append(extensions, hellotest.Extension(10, 0, 2, 0, 0x1d))
		}
		switch r.IntN(3) {
		case 0:
			b.Cookie, b.MessageSeq, b.RecordSeq = c, 1, r.Uint32N(3)
		case 1:
			extensions = append(extensions, hellotest.Cookie13(c...))
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

// The kernel and Go agree on mutated ClientHellos, for each way of admission, each set of the server's versions and any
// allowed and denied prefixes: on the verdict, and on the bytes of HelloVerifyRequests, HelloRetryRequests and alerts.
func TestAdmissionDifferential(t *testing.T) {
	older, newer, both := Admission{DTLS12: true}, Admission{DTLS13: true}, Admission{DTLS12: true, DTLS13: true}
	for name, versions := range map[string]Admission{"1.2": older, "1.3": newer, "both": both} {
		for _, f := range []formula{formulaV1, formulaV2} {
			a := versions
			a.Reset = true
			t.Run("reset/"+name+"/"+f.format.String(), func(t *testing.T) { admissionDifferential(t, a, f, *mutations) })
		}
		load, limit := versions, versions
		load.Reset, load.Load, limit.Limit = true, true, true
		t.Run("load/"+name, func(t *testing.T) { admissionDifferential(t, load, formulaV1, *mutations) })
		t.Run("limit/"+name, func(t *testing.T) { admissionDifferential(t, limit, formulaV1, *mutations) })
	}
}

// comparison is one run of TestAdmissionDifferential.
type comparison struct {
	t       *testing.T
	guard   *Programs
	set     *addresses.Set
	model   *admissionModel
	buckets []uint32 // of the networks that peers are in
	peers   []netip.AddrPort
	r       *rand.Rand
	began   time.Time // when all was forgotten
}

func compare(t *testing.T, a Admission, f formula) *comparison {
	t.Helper()
	ring, err := testRing.Next(otherSecret, 0x5b)
	need(t, err)
	c := &comparison{t: t, guard: guarding(t, admitting(a, f.format)), model: newAdmissionModel(a, f.format, ring), r: rand.New(rand.NewPCG(13, 13))}
	need(t, c.guard.SetSecret(ring.Current(), ring.Previous()))
	need(t, c.guard.SetAddressLifetime(time.Hour))
	memory, seed, err := c.guard.Addresses()
	need(t, err)
	c.set = addresses.SetOf(memory, seed, 3600)
	var nets []netip.Prefix
	nets, c.buckets = networks(t, c.guard, 8)
	for i := range uint16(128) {
		b := nets[int(i)%len(nets)].Addr().As16()
		b[15] = byte(i)
		if b[0] == 0x20 {
			b[7] = byte(i) // a /64 of its own
		}
		c.peers = append(c.peers, netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), 30000+i))
	}
	c.forget()
	return c
}

// forget resets kernel and model, and gives both new lists.
func (c *comparison) forget() {
	c.t.Helper()
	for _, p := range []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.PrefixFrom(netip.IPv4Unspecified(), 0)} {
		if n, o := c.set.Remove(p), c.model.gate.Set.Remove(p); n != o {
			c.t.Fatalf("the kernel noted %d addresses in %v, Go %d", n, p, o)
		}
	}
	clear(c.model.flows)
	c.model.now += int64(time.Duration(scarce.Burst+1) * time.Second * 1000) // all tokens are back
	need(c.t, c.guard.Flows(func(f Flow) bool { return c.guard.DeleteFlow(f.Service, f.Peer) == nil }))
	for _, b := range c.buckets {
		need(c.t, c.guard.maps.NetBuckets.Put(b, uint64(0)))
	}
	need(c.t, c.guard.maps.ServiceStates.Put(uint32(0), &guardServiceState{}))
	list := rules(c.r, c.peers)
	denied := make(map[netip.Prefix]bool)
	for p, v := range list {
		denied[p] = v == addresses.Deny
	}
	need(c.t, c.guard.SetPrefixes(denied))
	c.model.gate.Table.Store(addresses.NewTable(list))
	c.began = time.Now()
}

func admissionDifferential(t *testing.T, a Admission, f formula, inputs int) {
	const batch = 256
	c := compare(t, a, f)
	var seeds [][]byte
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		seeds = append(seeds, c.Datagram)
	}
	for _, r := range hellotest.Retries() {
		seeds = append(seeds, r.Hello)
	}
	keys := []*cookie.Key{c.model.ring.Current(), c.model.ring.Previous(), cookie.NewKeyring(straySecret, 0x5b).Current()}
	buf, out := make([]byte, 0, 4096), make([]byte, 4096)
	var src netip.AddrPort
	var d []byte
	seen := make(map[Verdict]int)
	before := counters(t, c.guard)
	for i := 1; i <= inputs; i++ {
		if c.r.IntN(8) > 0 || i == 1 { // else the same again
			src = c.peers[c.r.IntN(len(c.peers))]
			d = mutate13(c.r, f, seeds, keys, src, buf)
		}
		p := packet{Src: src, Dst: server4, UDPLen: -1, TotalLen: -1, Protocol: 17, Payload: d}
		if src.Addr().Is6() {
			p.Dst = server6
		}
		want, answer := c.model.decide(src, d)
		seen[want]++
		before.Verdict[want]++
		o := ebpf.RunOptions{Data: p.bytes(), DataOut: out}
		action, err := c.guard.progs.Dtlsguard.Run(&o)
		need(t, err)
		if (action == xdpTx) != (answer != nil) || answer != nil && !bytes.HasSuffix(o.DataOut, answer) || len(o.DataOut) > len(o.Data) && answer != nil {
			t.Fatalf("input %d from %v: action %d, want %v\nquestion %x\nanswer   %x\nwant     %x", i, src, action, want, d, o.DataOut, answer)
		}
		if answer != nil && !checksumIsRight(o.DataOut) {
			t.Fatalf("input %d: the checksum of %s is wrong", i, hex.EncodeToString(o.DataOut))
		}
		if i%batch != 0 {
			continue
		}
		if now := counters(t, c.guard); now.Verdict != before.Verdict {
			if time.Since(c.began) > addresses.Calm/2 {
				t.Skip("this machine is too slow: challenges may have ended for the kernel, whose clock is not the test's")
			}
			t.Fatalf("up to input %d: verdicts\n%v, want\n%v", i, now.Verdict, before.Verdict)
		}
		c.forget()
	}
	t.Log(seen)
	for _, v := range a.matters() {
		if seen[v] < inputs/2000 {
			t.Errorf("only %d inputs were %v", seen[v], v)
		}
	}
}

// matters are verdicts that must occur often.
func (a *Admission) matters() []Verdict {
	switch {
	case a.Limit:
		return []Verdict{PassAddress, PassUnproved, PassFlow, DropHelloLimit, DropDenied}
	case a.Load:
		return []Verdict{PassAddress, PassUnproved, PassFlow, Answered, Reset, DropResetBefore, DropDenied}
	}
	return []Verdict{PassAddress, PassFlow, Answered, Reset, DropResetBefore, DropDenied}
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
