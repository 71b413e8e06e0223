package bpf

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
)

// BenchmarkCookie measures what computing and comparing a cookie of each format costs in the kernel: a ClientHello with a wrong one
// minus one with none, both to a service that only monitors.
func BenchmarkCookie(b *testing.B) {
	type subject struct {
		name          string
		guard         *Programs
		wrong         []byte
		with, without []float64
	}
	var all []*subject
	for _, c := range []struct {
		name   string
		format Format
		size   int
	}{{"v1", FormatV1, cookie.Size}, {"v2", FormatV2, cookie.SizeV2}, {"harvest", FormatHarvest, cookie.Size}} {
		s := &subject{name: c.name, guard: load(b, Options{PoolEntries: 4357})}
		service := inline()
		if service.Format = c.format; c.format == FormatHarvest {
			service = harvestService(b, s.guard, 4357)
		}
		service.Monitor = true
		need(b, s.guard.SetSecret(testRing.Current(), nil))
		need(b, s.guard.SetService(service))
		h := hellotest.New()
		h.Cookie = make([]byte, c.size)
		h.Cookie[0] = testRing.Current().KeyID()
		s.wrong = h.Bytes()
		all = append(all, s)
	}
	for b.Loop() { // interleaved, because the machine is never alone
		for _, s := range all {
			kernel := func(d []byte) float64 {
				_, took, err := s.guard.progs.Dtlsguard.Benchmark(newPacket(d).bytes(), 20_000, nil)
				need(b, err)
				return float64(took.Nanoseconds())
			}
			s.with, s.without = append(s.with, kernel(s.wrong)), append(s.without, kernel(firstHello))
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, s := range all {
		b.ReportMetric(median(s.with)-median(s.without), "ns/cookie-"+s.name)
		b.ReportMetric(median(s.with), "ns/hello-"+s.name)
	}
}

// harvestService returns a service with n cookies in its table.
func harvestService(b *testing.B, g *Programs, n int) Service {
	pool, err := g.NewPoolMemory(n)
	need(b, err)
	for i := range n {
		(*guardPoolEntry)(unsafe.Pointer(&pool.Memory[i*entrySize])).Length = cookie.Size
	}
	return Service{ServiceKey: ServiceKey{Port: 4433}, Proxy: true, Answer: AnswerXDP, Format: FormatHarvest, Pool: pool}
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
		"unprotected": {g.progs.Dtlsguard, with(newPacket(malformed), func(p *packet) { p.Protocol = 6 })},
		"junk":        {g.progs.Dtlsguard, newPacket(make([]byte, 205))}, // as long as a ClientHello
		"unverified":  {g.progs.Dtlsguard, newPacket(appData)},
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

// BenchmarkScale measures a packet of a verified flow, with few and with many services and flows.
func BenchmarkScale(b *testing.B) {
	for _, c := range []struct{ services, flows int }{{1, 10}, {1024, 10}, {1, 60_000}, {1024, 60_000}} {
		b.Run(fmt.Sprintf("services=%d/flows=%d", c.services, c.flows), func(b *testing.B) {
			g := load(b, Options{MaxServices: MaxServices, MaxFlows: 65536})
			for i := range c.services {
				// Half of them share the port, which takes more look-ups.
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
				_, d, err := g.progs.Dtlsguard.Benchmark(newPacket(appData).bytes(), 20_000, nil)
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

// BenchmarkAnswer measures what an answer costs the kernel: a HelloVerifyRequest for a server that accepts cookies, and what clients get
// that are to prove their address, in DTLS 1.2 and 1.3. Each run is one packet, because an answer is written over its question;
// in turns, because the machine is never alone.
func BenchmarkAnswer(b *testing.B) {
	type subject struct {
		name  string
		guard *Programs
		frame []byte
		took  []float64
	}
	var all []*subject
	for _, c := range []struct {
		name      string
		admission Admission
		hello     []byte
	}{
		{"verify", Admission{}, firstHello},
		{"reset-1.2", Admission{Reset: true, DTLS12: true}, firstHello},
		{"reset-1.3", Admission{Reset: true, DTLS13: true}, hellotest.Retries()[0].Hello},
	} {
		s := inline()
		s.Admission = c.admission
		all = append(all, &subject{name: c.name, guard: guarding(b, s), frame: newPacket(c.hello).bytes()})
	}
	for b.Loop() {
		for range 1000 {
			for _, s := range all {
				action, took, err := s.guard.progs.Dtlsguard.Benchmark(s.frame, 1, nil)
				need(b, err)
				if action != xdpTx {
					b.Fatalf("%s: action %d", s.name, action)
				}
				s.took = append(s.took, float64(took.Nanoseconds()))
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	base := median(all[0].took)
	for _, s := range all {
		b.ReportMetric(median(s.took), "ns/"+s.name)
		b.ReportMetric(base/median(s.took), s.name+"/verify")
	}
}

// BenchmarkCaptured is what a capture adds to an answer and to a drop while it takes no further sample, in turns.
func BenchmarkCaptured(b *testing.B) {
	type subject struct {
		name    string
		guard   *Programs
		frame   []byte
		off, on []float64
	}
	all := []*subject{
		{name: "answer", guard: guarding(b, inline()), frame: newPacket(firstHello).bytes()},
		{name: "drop", guard: guarding(b, inline()), frame: newPacket(malformed).bytes()},
	}
	one := func(s *subject) float64 {
		_, took, err := s.guard.progs.Dtlsguard.Benchmark(s.frame, 1, nil)
		need(b, err)
		return float64(took.Nanoseconds())
	}
	for b.Loop() {
		for range 100 {
			for _, s := range all {
				for range 10 {
					s.off = append(s.off, one(s))
				}
				c, err := s.guard.Capture(CaptureFilter{Verdicts: ^uint64(0), Reasons: ^uint32(0), Rate: Rate{PerSecond: 1e-3, Burst: 1}})
				need(b, err)
				one(s) // takes the only sample
				for range 10 {
					s.on = append(s.on, one(s))
				}
				need(b, c.Close())
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, s := range all {
		b.ReportMetric(median(s.off), "ns/"+s.name)
		b.ReportMetric(median(s.on)-median(s.off), "ns/"+s.name+"-captured")
	}
}

// BenchmarkSampled is what sampling where a flood comes from adds to an answer: windows of 16 samples or 10 ms, ten per second at random
// times, as the daemon has them, in turns with none.
func BenchmarkSampled(b *testing.B) {
	const turn, every, window, samples = 500 * time.Millisecond, 100 * time.Millisecond, 10 * time.Millisecond, 16
	g := guarding(b, inline())
	frame := newPacket(firstHello).bytes()
	filter := CaptureFilter{Verdicts: 1 << Answered, Reasons: ^uint32(0), Rate: Rate{PerSecond: 1 / window.Seconds(), Burst: samples}}
	answers := func() float64 {
		var took time.Duration
		n := 0
		for end := time.Now().Add(turn); time.Now().Before(end); n++ {
			_, one, err := g.progs.Dtlsguard.Benchmark(frame, 1, nil)
			need(b, err)
			took += one
		}
		return float64(took.Nanoseconds()) / float64(n)
	}
	taken := 0
	sampled := func() float64 {
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(rand.N(2 * every)):
				}
				c, err := g.Capture(filter)
				need(b, err)
				c.SetDeadline(time.Now().Add(window))
				for range samples {
					if _, err := c.Read(); err != nil {
						break
					}
					taken++
				}
				need(b, c.Close())
			}
		}()
		defer func() { close(stop); <-done }()
		return answers()
	}
	var off, on, ratio []float64
	for b.Loop() {
		x, y := answers(), sampled()
		off, on, ratio = append(off, x), append(on, y), append(ratio, y/x)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(off), "ns/answer")
	b.ReportMetric(median(on), "ns/answer-sampled")
	b.ReportMetric(median(ratio), "sampled/not")
	b.ReportMetric(float64(taken)/float64(len(on))/turn.Seconds(), "samples/s")
}
