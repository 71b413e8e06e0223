package result

import "fmt"

// Bytes of an IPv4 datagram on an Ethernet wire besides its payload: headers of Ethernet, IPv4 and UDP, the frame check
// sequence, and preamble with start of frame and the gap between frames (IEEE 802.3 clauses 3.1.1 and 4.4.2).
const (
	wireHeaders  = 14 + 20 + 8
	wireCheck    = 4
	wireGap      = 8 + 12
	wireShortest = 64 // a frame with its check sequence; shorter ones are padded
)

// LineRate is the number of IPv4 datagrams of size bytes per second that a link of bits per second carries.
func LineRate(bits float64, size int) float64 {
	return bits / 8 / float64(max(wireShortest, wireHeaders+size+wireCheck)+wireGap)
}

// Stage is the cost of a packet on one of its possible ways.
type Stage struct {
	Name string
	Nanoseconds
	Size int // bytes of the datagrams in the measurement
}

// Nanoseconds of CPU time per packet, as measured.
type Nanoseconds float64

// PerCore is the number per second and core at the given clock in GHz, if each takes ns at the clock of the measurement.
// It assumes a constant number of cycles, which is not true of memory accesses.
func (ns Nanoseconds) PerCore(measured, clock float64) float64 {
	return 1e9 / float64(ns) * clock / measured
}

// Projection is a projection of a report's costs to a NIC.
type Projection struct {
	Measured, Clock float64 // GHz; 0: unknown, and then Clock is 0 as well
	Stages          []Stage
}

// Sizes of datagrams in bytes for line rates: the shortest possible ClientHello (RFC 6347
// section 4.2.2: no session id, no cookie, one suite, no extensions), one of openssl s_client, and larger ones.
var Sizes = []int{67, 205, 512, 1400}

// speeds of links, bits per second.
var speeds = []struct {
	name string
	bits float64
}{{"10G", 10e9}, {"25G", 25e9}, {"100G", 100e9}}

// stages are the rows of the projection, with the place of each cost in the report.
var stages = []struct {
	name, scenario, subject string
	size                    int
}{
	{"received and dropped, nothing else", "junk", "bare XDP_DROP", 205},
	{"received and sent back, nothing else", "swap", "bare XDP_TX swap", 205},
	{"not DTLS: dropped", "junk", "dtlsguard xdp", 205},
	{"ClientHello: answered", "swap", "dtlsguard xdp", 205},
	{"ClientHello of 512 bytes: answered", "frames", "512 bytes", 512},
	{"ClientHello of 1400 bytes: answered", "frames", "1400 bytes", 1400},
	{"wrong cookie: answered again", "wrong-cookie", "dtlsguard xdp", 237},
	{"ClientHello: answered by a worker", "workers", "dtlsguard workers, peak", 205},
}

// Projection projects r's costs to a clock in GHz.
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

// perCore is the rate per core of a stage at p.Clock.
func (p *Projection) perCore(s *Stage) float64 {
	if p.Measured == 0 {
		return s.PerCore(1, 1)
	}
	return s.PerCore(p.Measured, p.Clock)
}

// Tables returns the table of packets per second and core, and that of line rates.
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
		Head:  []string{"stage", "bytes", "ns measured", "M/s per core", "10G", "25G", "100G"},
		Notes: []string{
			"ns are measured on a veth, where receiving costs more than in a NIC's driver, and on one core with its own caches",
			"cores are those of the host, assuming that RSS spreads the flood evenly",
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
