package bpf

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dchest/siphash"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// versionsOf converts the versions of a service to those of package handoff.
func versionsOf(a Admission) (v handoff.Versions) {
	if a.DTLS12 {
		v |= handoff.Serves12
	}
	if a.DTLS13 {
		v |= handoff.Serves13
	}
	return v
}

// macOf returns the MAC of one of the guard's own formats.
func macOf(f Format) cookie.MAC {
	if f == FormatV2 {
		return cookie.SipHash
	}
	return cookie.HMACSHA256
}

// scarce is a rate so low that no token comes back within a test.
var scarce = limit.Rate{PerSecond: 1e-3, Burst: 60}

// admitting returns a service that admits first ClientHellos as a says; with Limit or Load at the rate scarce.
func admitting(a Admission, f Format) Service {
	s := inline()
	policy := addresses.Policy{Rate: scarce}
	rate := func(r limit.Rate) Rate { return Rate{PerSecond: r.PerSecond, Burst: uint32(r.Burst)} }
	a.Rate, a.Share = rate(scarce), rate(policy.Share())
	s.Admission, s.FlowHellos, s.Format = a, true, f
	return s
}

// admissionModel decides in Go, by package handoff's verifiers with their own gate.
type admissionModel struct {
	Admission
	verifier handoff.Verifier
	reader   handoff.Verifier // finds the cookie of a ClientHello of DTLS 1.3
	gate     *addresses.Gate
	now      int64
	ring     *cookie.Keyring
	flows    map[netip.AddrPort]bool
}

func newAdmissionModel(a Admission, f Format, ring *cookie.Keyring) *admissionModel {
	m := &admissionModel{Admission: a, ring: ring, flows: make(map[netip.AddrPort]bool), now: int64(monotonic())}
	newGate := func(p addresses.Policy) *addresses.Gate {
		return addresses.NewGate(addresses.NewSet([2]uint64{1}, 3600), new(atomic.Pointer[addresses.Table]), p)
	}
	verifier := func(mode handoff.Mode, g *addresses.Gate) handoff.Verifier {
		return handoff.NewInline(handoff.Fit{Mode: mode, Serves: versionsOf(a)},
			handoff.Config{MAC: macOf(f), Cookies: cookie.Measured(), Gate: g, Now: func() int64 { return m.now }}, 1)
	}
	policy, mode := addresses.Policy{Rate: scarce}, handoff.Reset
	if a.Load {
		policy.Engage = addresses.Load
	}
	if a.Limit {
		mode = handoff.Limit
	}
	m.gate = newGate(policy)
	m.verifier = verifier(mode, m.gate)
	m.reader = verifier(handoff.Reset, newGate(addresses.Policy{}))
	return m
}

// decide returns the verdict on a datagram, and its answer.
func (m *admissionModel) decide(src netip.AddrPort, d []byte) (Verdict, []byte) {
	ip := src.Addr().As16()
	if m.gate.Table.Load().Of(&ip) == addresses.Deny {
		return DropDenied, nil
	}
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
	if m.Limit {
		return m.limited(src, h)
	}
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
		return m.admitted(src, h), nil
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

// limited decides for services that challenge no client.
func (m *admissionModel) limited(src netip.AddrPort, h []handoff.Hello) (Verdict, []byte) {
	read := []handoff.Hello{h[0]}
	m.reader.Verify(m.ring, read)
	if len(read[0].Cookie) > 0 && m.flows[src] {
		return PassFlow, nil
	}
	m.verifier.Verify(m.ring, h)
	switch {
	case h[0].Verified:
		return m.admitted(src, &h[0]), nil
	case m.flows[src]:
		return PassFlow, nil
	}
	return DropHelloLimit, nil
}

func (m *admissionModel) admitted(src netip.AddrPort, h *handoff.Hello) Verdict {
	m.flows[src] = true
	if h.Unproved {
		return PassUnproved
	}
	return PassAddress
}

// networks returns client networks, half of them of each family, that share no bucket in the kernel.
func networks(t *testing.T, g *Programs, n int) (list []netip.Prefix, buckets []uint32) {
	t.Helper()
	taken := make(map[uint32]bool)
	for i := byte(0); len(list) < n; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, i, 0}), 24)
		w := words(p.Addr())
		low := uint64(swap(w[3]))
		if i%2 == 1 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: i}), 56)
			w = words(p.Addr())
			low = uint64(swap(w[0]))<<32 | uint64(swap(w[1]))
		}
		var message [24]byte
		binary.LittleEndian.PutUint64(message[:], uint64(g.services[0].id))
		binary.LittleEndian.PutUint64(message[8:], low)
		binary.LittleEndian.PutUint64(message[16:], 1)
		b := uint32(siphash.Hash(g.hashKey[0], g.hashKey[1], message[:]) >> 48)
		if !taken[b] {
			taken[b], list, buckets = true, append(list, p), append(buckets, b)
		}
	}
	return list, buckets
}

// swap returns a word of an address as a number.
func swap(w uint32) uint32 {
	var b [4]byte
	native.PutUint32(b[:], w)
	return binary.BigEndian.Uint32(b[:])
}

// rules draws prefixes around peers that are allowed or denied.
func rules(r *rand.Rand, peers []netip.AddrPort) map[netip.Prefix]addresses.Verdict {
	list := make(map[netip.Prefix]addresses.Verdict)
	for range r.IntN(6) {
		a := peers[r.IntN(len(peers))].Addr()
		bits := []int{16, 24, 28, 31, 32}[r.IntN(5)]
		if a.Is6() {
			bits = []int{32, 56, 64, 127, 128}[r.IntN(5)]
		}
		if p, err := a.Prefix(bits); err == nil {
			list[p] = []addresses.Verdict{addresses.Allow, addresses.Deny}[r.IntN(2)]
		}
	}
	return list
}
