package handoff

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// sources are the addresses that a pool's entries have at the server, by index.
type sources struct {
	first   netip.Addr // of many, or the only one
	several bool
	ports   []uint16
}

// If the server is on 127.0.0.0/8, where each address belongs to this host, a pool uses few ports of many addresses. So
// it has room for 2^20 entries, and takes next to none of the ephemeral ports that other programs need. It uses the
// highest ports, which other programs get only by choice where the ephemeral range ends below.
const (
	loopbackPorts = 256
	// perNetwork is how many addresses of a /24 are used: without .0 and .255, which some servers reject.
	perNetwork = 250
	// networks is how many /24 a pool of MaxPool entries needs.
	networks = (MaxPool + MaxPool/spare + loopbackPorts*perNetwork) / (loopbackPorts * perNetwork)
	// firstNetwork and lastNetwork bound the second byte of the addresses: away from 127.0.0.1 and from what
	// distributions use near it.
	firstNetwork, lastNetwork = 80, 127
	// leftFree is the share of the ephemeral ports of a host with one address that pools leave free: one in leftFree.
	leftFree = 4
)

// MaxPool is the largest size of a pool.
const MaxPool = 1 << 20

// MaxPoolTowards is the largest size of a pool towards server.
func MaxPoolTowards(server netip.Addr) int {
	if loopback4(server) {
		return MaxPool
	}
	return mostPorts() * spare / (spare + 1)
}

// ephemeral returns the ports that the kernel assigns by itself.
func ephemeral() []uint16 {
	low, high := ephemeralRange()
	return unreserved(low, high)
}

// beyond returns the ports above those, which sockets get only by choice.
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

// unreserved returns the ports from low to high that an administrator has not reserved.
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

// newSources finds n addresses towards server. several: the server answers any loopback address. Each pool of a host gets
// different ones, a rebuilt pool too: servers may remember the old ones.
func newSources(server netip.AddrPort, n int, several bool) (sources, error) {
	if !several {
		c, err := udpbatch.Dial(server)
		if err != nil {
			return sources{}, err
		}
		defer c.Close()
		var ports []uint16 // first those that no other program gets by chance while the entry's client is away
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

// most returns how many addresses there are.
func (s *sources) most() int {
	if s.several {
		return len(s.ports) * perNetwork * networks
	}
	return len(s.ports)
}

// dial opens a socket to server with the address of entry i.
func (s *sources) dial(i int, server netip.AddrPort) (*udpbatch.Conn, error) {
	from := s.at(i)
	if from.Addr().IsLinkLocalUnicast() { // binding one requires a zone, which the route to the server also provides
		from = netip.AddrPortFrom(netip.IPv6Unspecified(), from.Port())
	}
	return udpbatch.DialFrom(from, server)
}

// at returns the address of entry i.
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
