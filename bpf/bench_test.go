package bpf

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

// BenchmarkCookie is what a cookie costs in the kernel, made and compared: a ClientHello with a wrong one less one with
// none, both to a service that only monitors.
func BenchmarkCookie(b *testing.B) {
	s := inline()
	s.Monitor = true
	g := guarding(b, s)
	wrong := hellotest.New()
	wrong.Cookie = make([]byte, 32)
	wrong.Cookie[0] = testRing.Current().Epoch()
	kernel := func(p *packet) float64 {
		_, d, err := g.progs.Guard.Benchmark(p.bytes(), 20_000, nil)
		need(b, err)
		return float64(d.Nanoseconds())
	}
	var with, without []float64
	for b.Loop() { // interleaved, because the machine is never alone
		with = append(with, kernel(newPacket(wrong.Bytes())))
		without = append(without, kernel(newPacket(firstHello)))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(with)-median(without), "ns/cookie")
}

// BenchmarkVerdict is the time of the program alone for packets that cost no hash, against a program that
// does nothing.
func BenchmarkVerdict(b *testing.B) {
	g := guarding(b, inline())
	empty, err := ebpf.NewProgram(emptyXDP())
	need(b, err)
	defer empty.Close()
	for name, c := range map[string]struct {
		prog *ebpf.Program
		p    *packet
	}{
		"empty":       {empty, newPacket(malformed)},
		"unprotected": {g.progs.Guard, with(newPacket(malformed), func(p *packet) { p.Protocol = 6 })},
		"junk":        {g.progs.Guard, newPacket(make([]byte, 205))}, // as long as a ClientHello
		"unverified":  {g.progs.Guard, newPacket(appData)},
	} {
		b.Run(name, func(b *testing.B) {
			var all []float64
			for b.Loop() {
				_, d, err := c.prog.Benchmark(c.p.bytes(), 20_000, nil)
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, float64(d.Nanoseconds()))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(all), "ns/packet")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// BenchmarkScale is the time for a packet of a verified flow, with few and with many services and flows.
func BenchmarkScale(b *testing.B) {
	for _, c := range []struct{ services, flows int }{{1, 10}, {1024, 10}, {1, 60_000}, {1024, 60_000}} {
		b.Run(fmt.Sprintf("services=%d/flows=%d", c.services, c.flows), func(b *testing.B) {
			g := load(b, Options{MaxServices: MaxServices, MaxFlows: 65536})
			for i := range c.services {
				// Half of them share the port, which is the longer way.
				s := Service{ServiceKey: ServiceKey{netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 4433}}
				if i%2 == 1 {
					s.Port = uint16(5000 + i)
				}
				if i == 0 {
					s.Address = server4.Addr()
				}
				if err := g.SetService(s); err != nil {
					b.Fatal(err)
				}
			}
			key := ServiceKey{server4.Addr(), 4433}
			for i := range c.flows {
				if err := g.AddFlow(key, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), 9)); err != nil {
					b.Fatal(err)
				}
			}
			if err := g.AddFlow(key, client4); err != nil {
				b.Fatal(err)
			}
			var all []float64
			for b.Loop() {
				_, d, err := g.progs.Guard.Benchmark(newPacket(appData).bytes(), 20_000, nil)
				if err != nil {
					b.Fatal(err)
				}
				all = append(all, float64(d.Nanoseconds()))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(all), "ns/packet")
		})
	}
}
