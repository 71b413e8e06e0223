package handoff

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// sources are the addresses that a pool's entries have at the server, by number.
type sources struct {
	first   netip.Addr // of many, or the only one
	several bool
	ports   []uint16
}

// Where the server is on 127.0.0.0/8, each address of which is this host's, a pool takes few ports of many addresses. So it
// has room for 2^20 entries, and takes next to nothing of the ephemeral ports that other programs of this host need. They are
// the highest, which nobody else gets by chance where the ephemeral ones end below.
const (
	loopbackPorts = 256
	// perNetwork is how many addresses of a /24 are used: not .0 and .255, for servers that find them odd.
	perNetwork = 250
	// networks is how many /24 a pool of MaxPool entries needs.
	networks = (MaxPool + MaxPool/spare + loopbackPorts*perNetwork) / (loopbackPorts * perNetwork)
	// firstNetwork and lastNetwork are the second bytes of addresses to choose from: far from 127.0.0.1 and what
	// distributions put near it.
	firstNetwork, lastNetwork = 80, 127
	// leftFree is the share of the ephemeral ports of this host's one address that no pool takes: one in so many.
	leftFree = 4
)

// MaxPool is the size of the largest pool.
const MaxPool = 1 << 20

// MaxPoolTowards is the size of the largest pool towards server.
func MaxPoolTowards(server netip.Addr) int {
	if loopback4(server) {
		return MaxPool
	}
	return mostPorts() * spare / (spare + 1)
}

// ephemeral are the ports that the kernel gives to sockets which name none.
func ephemeral() []uint16 {
	low, high := ephemeralRange()
	return unreserved(low, high)
}

// beyond are the ports above those: nobody has one who did not name it.
func beyond() []uint16 {
	_, high := ephemeralRange()
	return unreserved(high+1, 65535)
}

func ephemeralRange() (low, high int) {
	low, high = 32768, 60999 // ip(7)
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low, &high)
	}
	return low, high
}

// unreserved are the ports from low to high without those that an administrator has reserved.
func unreserved(low, high int) (ports []uint16) {
	reserved := make(map[int]bool)
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports"); err == nil {
		for part := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
			var from, to int
			switch n, _ := fmt.Sscanf(part, "%d-%d", &from, &to); n {
			case 1:
				reserved[from] = true
			case 2:
				for p := from; p <= to; p++ {
					reserved[p] = true
				}
			}
		}
	}
	for p := low; p <= min(high, 65535); p++ {
		if !reserved[p] {
			ports = append(ports, uint16(p))
		}
	}
	return ports
}

func mostPorts() int { return len(ephemeral()) / leftFree * (leftFree - 1) }

// newSources finds n addresses towards server. several says that the server answers any address of loopback. Two pools on
// one host have others, and so has a pool that is made anew: servers may remember the old ones.
func newSources(server netip.AddrPort, n int, several bool) (sources, error) {
	if !several {
		c, err := udpbatch.Dial(server)
		if err != nil {
			return sources{}, err
		}
		defer c.Close()
		var ports []uint16 // those first that no socket of another program gets by chance while the entry's client is away
		for _, some := range [][]uint16{beyond(), ephemeral()} {
			rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			ports = append(ports, some...)
		}
		return sources{first: c.Local().Addr(), ports: ports[:min(n, len(ports))]}, nil
	}
	ports := append(ephemeral(), beyond()...)
	s := sources{several: true, ports: ports[max(0, len(ports)-loopbackPorts):]}
	const tries = 16
	for range tries {
		second := firstNetwork + rand.IntN(lastNetwork-firstNetwork+1)
		s.first = netip.AddrFrom4([4]byte{127, byte(second), byte(rand.IntN(256 - networks)), 1})
		if c, err := s.dial(0, server); err == nil {
			_ = c.Close()
			break
		}
	}
	return s, nil
}

// most is how many there are.
func (s *sources) most() int {
	if s.several {
		return len(s.ports) * perNetwork * networks
	}
	return len(s.ports)
}

// dial opens a socket to server with the address of entry i.
func (s *sources) dial(i int, server netip.AddrPort) (*udpbatch.Conn, error) {
	from := s.at(i)
	if from.Addr().IsLinkLocalUnicast() { // to bind to one takes its zone, which the route to the server gives as well
		from = netip.AddrPortFrom(netip.IPv6Unspecified(), from.Port())
	}
	return udpbatch.DialFrom(from, server)
}

// at is the address of entry i.
func (s *sources) at(i int) netip.AddrPort {
	port := s.ports[i%len(s.ports)]
	if !s.several {
		return netip.AddrPortFrom(s.first, port)
	}
	a, n := s.first.As4(), i/len(s.ports)
	a[2] += byte(n / perNetwork)
	a[3] += byte(n % perNetwork)
	return netip.AddrPortFrom(netip.AddrFrom4(a), port)
}
