package result

import "fmt"

// Bytes that a datagram over IPv4 takes on an Ethernet wire: headers of Ethernet, IPv4 and UDP, the frame check
// sequence, and preamble with start of frame and the gap between frames (IEEE 802.3 clauses 3.1.1 and 4.4.2).
const (
	wireHeaders  = 14 + 20 + 8
	wireCheck    = 4
	wireGap      = 8 + 12
	wireShortest = 64 // a frame with its check sequence; shorter ones are padded
)

// LineRate is how many datagrams of size bytes over IPv4 per second a link of so many bits per second carries.
func LineRate(bits float64, size int) float64 {
	return bits / 8 / float64(max(wireShortest, wireHeaders+size+wireCheck)+wireGap)
}

// Stage is the cost of one packet in one of the ways that it can go.
type Stage struct {
	Name string
	Nanoseconds
	Size int // bytes of datagram that it was measured with
}

// Nanoseconds of CPU time per packet, as measured.
type Nanoseconds float64

// PerCore is how many one core does per second at the given clock in GHz, where each takes ns at the clock of the measurement.
// It supposes that cycles stay the same, which waits for memory do not.
func (ns Nanoseconds) PerCore(measured, clock float64) float64 {
	return 1e9 / float64(ns) * clock / measured
}

// Projection is what a report's costs would come to on a NIC.
type Projection struct {
	Measured, Clock float64 // GHz; 0: unknown, and then there is no other
	Stages          []Stage
}

// Sizes of datagrams in bytes that line rates are given for: the shortest ClientHello that there can be (RFC 6347
// section 4.2.2: no session id, no cookie, one suite, no extensions), one of openssl s_client, and larger ones.
var Sizes = []int{67, 205, 512, 1400}

// speeds of links, bits per second.
var speeds = []struct {
	name string
	bits float64
}{{"10G", 10e9}, {"25G", 25e9}, {"100G", 100e9}}

// stages are where the costs are found.
var stages = []struct {
	name, scenario, subject string
	size                    int
}{
	{"received and dropped, nothing else", "junk", "bare XDP_DROP", 205},
	{"received and sent back, nothing else", "swap", "bare XDP_TX swap", 205},
	{"no DTLS: dropped", "junk", "dtlsguard xdp", 205},
	{"ClientHello: answered", "swap", "dtlsguard xdp", 205},
	{"ClientHello of 512 bytes: answered", "frames", "512 bytes", 512},
	{"ClientHello of 1400 bytes: answered", "frames", "1400 bytes", 1400},
	{"wrong cookie: answered anew", "wrong-cookie", "dtlsguard xdp", 237},
	{"ClientHello: answered by a worker", "workers", "dtlsguard workers, peak", 205},
}

// Projection takes r's costs to a clock of so many GHz.
func (r *Report) Projection(clock float64) *Projection {
	p := &Projection{Measured: r.Clock, Clock: clock}
	for _, s := range stages {
		o := r.Find(s.scenario)
		if o == nil {
			continue
		}
		if row := o.Find(s.subject); row != nil && row.Median > 0 {
			p.Stages = append(p.Stages, Stage{s.name, Nanoseconds(row.nanoseconds()), s.size})
		}
	}
	return p
}

// perCore is that of a stage at p.Clock.
func (p *Projection) perCore(s *Stage) float64 {
	if p.Measured == 0 {
		return s.PerCore(1, 1)
	}
	return s.PerCore(p.Measured, p.Clock)
}

// Tables are of packets per second and core, and of what links bring.
func (p *Projection) Tables() []Table {
	if len(p.Stages) == 0 {
		return nil
	}
	clock := "the clock of the measurement"
	if p.Measured > 0 {
		clock = fmt.Sprintf("%.2f GHz", p.Clock)
	}
	cores := Table{
		Title: "PROJECTION, not measured: a core at " + clock + ", and cores that keep up with a full link",
		Head:  []string{"stage", "bytes", "ns measured", "M/s a core", "10G", "25G", "100G"},
		Notes: []string{
			"ns are of a veth, which receives dearer than a NIC's driver does, and of one core with its caches to itself",
			"cores are those of the host and suppose that RSS spreads the flood evenly",
		},
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		row := []string{s.Name, fmt.Sprint(s.Size), fmt.Sprintf("%.0f", float64(s.Nanoseconds)), fmt.Sprintf("%.2f", p.perCore(s)/1e6)}
		for _, l := range speeds {
			row = append(row, fmt.Sprintf("%.1f", LineRate(l.bits, s.Size)/p.perCore(s)))
		}
		cores.add(row...)
	}
	lines := Table{Title: "line rates over IPv4, M datagrams per second", Head: []string{"bytes of datagram", "bytes on the wire", "10G", "25G", "100G"}}
	for _, size := range Sizes {
		row := []string{fmt.Sprint(size), fmt.Sprint(max(wireShortest, wireHeaders+size+wireCheck) + wireGap)}
		for _, l := range speeds {
			row = append(row, fmt.Sprintf("%.2f", LineRate(l.bits, size)/1e6))
		}
		lines.add(row...)
	}
	return []Table{cores, lines}
}
