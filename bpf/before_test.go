package bpf

import (
	"flag"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

var beforeObject = flag.String("before", "", "for BenchmarkBefore: another guard_bpfel.o, of the same maps")

// A turn is what one program does with one packet.
type turn struct {
	name  string
	prog  *ebpf.Program
	frame []byte
	once  bool // run it on one packet at a time, because an answer is written over its question
}

// turns loads the programs and has them do all that is compared.
func turns(b *testing.B) []turn {
	monitor := inline()
	monitor.Monitor = true
	proxy := inline()
	proxy.Proxy, proxy.WorkersPort = true, 0
	harvest := load(b, Options{PoolEntries: 4357})
	s := harvestService(b, harvest, 4357)
	s.Monitor = true
	need(b, harvest.SetSecret(testRing.Current(), nil))
	need(b, harvest.SetService(s))
	parse, plain, proxied := guarding(b, monitor), guarding(b, inline()), guarding(b, proxy)
	reset := func(a Admission) *ebpf.Program {
		s := inline()
		s.Admission = a
		return guarding(b, s).progs.Dtlsguard
	}
	wrong := hellotest.New()
	wrong.Cookie = make([]byte, 32)
	wrong.Cookie[0] = testRing.Current().KeyID()
	need(b, plain.AddFlow(inline().ServiceKey, client4))
	need(b, proxied.AddFlow(inline().ServiceKey, client4))
	hello, cookie := newPacket(firstHello).bytes(), newPacket(wrong.Bytes()).bytes()
	in, out := newPacket(make([]byte, 100)), back(newPacket(make([]byte, 100)))
	for _, p := range []*packet{in, out} {
		copy(p.Payload, appData)
	}
	unknown := newPacket(appData)
	unknown.Src = netip.AddrPortFrom(client4.Addr(), 9)
	return []turn{
		{"parse", parse.progs.Dtlsguard, hello, false},
		{"cookie", parse.progs.Dtlsguard, cookie, false},
		{"harvest", harvest.progs.Dtlsguard, cookie, false},
		{"junk", plain.progs.Dtlsguard, newPacket(make([]byte, 205)).bytes(), false},
		{"flow", plain.progs.Dtlsguard, in.bytes(), false},
		{"no-flow", plain.progs.Dtlsguard, unknown.bytes(), false},
		{"egress-flow", plain.progs.Egress, out.bytes(), false},
		{"egress-proxy", proxied.progs.Egress, out.bytes(), false},
		{"answer", plain.progs.Dtlsguard, hello, true},
		{"reset-1.2", reset(Admission{Reset: true, DTLS12: true}), hello, true},
		{"reset-1.3", reset(Admission{Reset: true, DTLS13: true}), newPacket(hellotest.Retries()[0].Hello).bytes(), true},
	}
}

// BenchmarkBefore reports the times of the programs in ns, and divided by those of another object file, both run in turns.
func BenchmarkBefore(b *testing.B) {
	if *beforeObject == "" {
		b.Skip("needs -before OBJECT")
	}
	embedded := _GuardBytes
	other, err := os.ReadFile(*beforeObject)
	need(b, err)
	now := turns(b)
	_GuardBytes = other
	before := turns(b)
	_GuardBytes = embedded
	for i := range now {
		b.Run(now[i].name, func(b *testing.B) {
			var ns [2][]float64
			for b.Loop() {
				for j, t := range []turn{before[i], now[i]} {
					n := 20_000
					if t.once {
						n = 1
					}
					for range 20_000 / n {
						_, d, err := t.prog.Benchmark(t.frame, n, nil)
						need(b, err)
						ns[j] = append(ns[j], float64(d.Nanoseconds()))
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ns[0]), "ns/before")
			b.ReportMetric(median(ns[1]), "ns/now")
			b.ReportMetric(median(ns[0])/median(ns[1]), "rate/before")
		})
	}
}
