package bpf

import (
	"flag"
	"os"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

var beforeObject = flag.String("before", "", "for BenchmarkBefore: another guard_bpfel.o, of the same maps")

// BenchmarkBefore reports the time of the ingress program divided by that of another object file, both run in turns: for a
// ClientHello without a cookie, parsed, and for one with a wrong one, for which a cookie is made, or found among harvested
// ones, as for an answer.
func BenchmarkBefore(b *testing.B) {
	if *beforeObject == "" {
		b.Skip("needs -before OBJECT")
	}
	embedded := _GuardBytes
	other, err := os.ReadFile(*beforeObject)
	need(b, err)
	own := inline()
	own.Monitor = true
	guards := func(object []byte) map[string]*Programs {
		_GuardBytes = object
		defer func() { _GuardBytes = embedded }()
		harvest := load(b, Options{PoolEntries: 4357})
		s := harvestService(b, harvest, 4357)
		s.Monitor = true
		need(b, harvest.SetSecret(testRing.Current(), nil))
		need(b, harvest.SetService(s))
		g := guarding(b, own)
		return map[string]*Programs{"parse": g, "cookie": g, "harvest": harvest}
	}
	now, before := guards(embedded), guards(other)
	wrong := hellotest.New()
	wrong.Cookie = make([]byte, 32)
	wrong.Cookie[0] = testRing.Current().KeyID()
	for name, p := range map[string]*packet{"parse": newPacket(firstHello), "cookie": newPacket(wrong.Bytes()), "harvest": newPacket(wrong.Bytes())} {
		b.Run(name, func(b *testing.B) {
			var ns [2][]float64
			for b.Loop() {
				for i, g := range []*Programs{before[name], now[name]} {
					_, d, err := g.progs.Dtlsguard.Benchmark(p.bytes(), 20_000, nil)
					need(b, err)
					ns[i] = append(ns[i], float64(d.Nanoseconds()))
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(ns[0]), "ns/before")
			b.ReportMetric(median(ns[1]), "ns/now")
			b.ReportMetric(median(ns[0])/median(ns[1]), "rate/before")
		})
	}
}
