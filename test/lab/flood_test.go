package lab

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/sockets"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// floodSize is the number of a flood's datagrams that the programs must see.
const floodSize = 100_000

// spoofed are the networks of a flood's source addresses; the guard's answers are routed to the client
// host, where nobody reads them.
var spoofed = [2]netip.Prefix{netip.MustParsePrefix("198.19.0.0/16"), netip.MustParsePrefix("2001:2:0:ff::/64")}

// flooder sends datagrams with spoofed sources from the client host.
type flooder struct {
	t      *testing.T
	random *rand.Rand
	fd     int
	to     unix.SockaddrLinklayer
	frame  []byte // of a datagram to either address: the Ethernet header's addresses
	peers  [2]netip.AddrPort
}

func newFlooder(t *testing.T, p *place) *flooder {
	t.Helper()
	if err := p.Middle.Do(func() error {
		for i, n := range spoofed {
			via := [2]netip.Addr{lab.Client4, lab.Client6}[i].AsSlice()
			if err := netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: n.Addr().AsSlice(), Mask: net.CIDRMask(n.Bits(), n.Addr().BitLen())}, Gw: via}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return floodFrom(t, p, p.Client, iface)
}

// floodFrom sends from the host behind the guard's interface of that name.
func floodFrom(t *testing.T, p *place, host *lab.Namespace, name string) *flooder {
	t.Helper()
	f := &flooder{t: t, random: rand.New(rand.NewPCG(1, 2)), fd: -1, peers: public}
	var guard net.HardwareAddr
	err := p.Middle.Do(func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			guard = i.HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = host.Do(func() error {
		i, err := net.InterfaceByName(lab.ToMiddle)
		if err != nil {
			return err
		}
		f.to.Ifindex = i.Index
		f.frame = append(append(f.frame, guard...), i.HardwareAddr...)
		// Protocol 0: it only sends.
		f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(f.fd) })
	return f
}

// send sends n datagrams to both addresses.
func (f *flooder) send(n int) {
	f.t.Helper()
	for i := range n {
		frame := f.packet(i%2, f.datagram(i/2))
		if err := unix.Sendto(f.fd, frame, 0, &f.to); err != nil && err != unix.ENOBUFS {
			f.t.Fatal(err)
		}
	}
}

// datagram returns one of the flood: a first ClientHello, one with a wrong cookie, or junk. All contain the flood's mark.
func (f *flooder) datagram(i int) []byte {
	b := hellotest.New()
	b.SessionID = []byte(sockets.Marker)
	switch i % 4 {
	case 1: // as long as the guard's own, sometimes with the right key ID
		b.Cookie, b.MessageSeq = make([]byte, 32), 1
	case 2:
		b.Cookie, b.MessageSeq = make([]byte, 20), 1
	}
	for j := range b.Cookie {
		b.Cookie[j] = byte(f.random.Uint32())
	}
	d := b.Bytes()
	vary := d[27:59] // the random
	if i%4 == 3 {    // any content type, known or not
		vary = d[:59]
	}
	for j := range vary {
		vary[j] = byte(f.random.Uint32())
	}
	return d
}

// packet returns d in a frame with a random source.
func (f *flooder) packet(family int, d []byte) []byte {
	be := binary.BigEndian
	source := spoofed[family].Addr().AsSlice()
	be.PutUint16(source[len(source)-2:], uint16(1+f.random.IntN(0xfffe))) // neither the network nor its broadcast
	to := f.peers[family]
	udp := make([]byte, 8, 8+len(d))
	be.PutUint16(udp, uint16(1024+f.random.IntN(60000)))
	be.PutUint16(udp[2:], to.Port())
	be.PutUint16(udp[4:], uint16(8+len(d)))
	udp = append(udp, d...)
	pseudo := append(append(source, to.Addr().AsSlice()...), 0, unix.IPPROTO_UDP, udp[4], udp[5])
	be.PutUint16(udp[6:], checksum(append(pseudo, udp...)))
	if family == 0 {
		ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
		be.PutUint16(ip[2:], uint16(20+len(udp)))
		ip = append(append(ip, source...), to.Addr().AsSlice()...)
		be.PutUint16(ip[10:], checksum(ip))
		return append(append(append(f.frame[:12:12], 0x08, 0x00), ip...), udp...)
	}
	ip := []byte{0x60, 0, 0, 0, udp[4], udp[5], unix.IPPROTO_UDP, 64}
	ip = append(append(ip, source...), to.Addr().AsSlice()...)
	return append(append(append(f.frame[:12:12], 0x86, 0xdd), ip...), udp...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// No datagram of a flood reaches the server's socket, in any shape, whether XDP or workers answer. Clients get through during it.
func TestFloodStaysOut(t *testing.T) {
	for name, s := range shapes {
		for _, answer := range []string{"workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				servers := s.serve(t, p.Lab)
				g := p.run(append(s.args(), "--answer", answer, "--unverified", "drop")...)
				servers[0].tap.look()
				before := servers[0].tap.received
				f := newFlooder(t, p)
				for seen, sent := uint64(0), 0; seen < floodSize; {
					if sent > 20*floodSize {
						t.Fatalf("the programs have seen %d of %d datagrams", seen, sent)
					}
					f.send(floodSize / 10)
					sent += floodSize / 10
					seen = packets(g)
				}
				for i, s := range servers {
					s.tap.look()
					if s.tap.flood > 0 || name == "inline" && i == 0 && s.tap.received > before {
						t.Errorf("%d datagrams at the server, %d of the flood", s.tap.received, s.tap.flood)
					}
				}
				for _, a := range public {
					c := gnutls()(t, p.Lab, a)
					f.send(floodSize / 10) // during the client's handshake
					c.ping("in a flood")
					c.close()
				}
				for _, s := range servers {
					s.tap.look()
					if n := s.clients(1); s.tap.flood > 0 || n != 1 {
						t.Errorf("%d clients and %d datagrams of the flood at the server", n, s.tap.flood)
					}
				}
				t.Log(g.status().XDP.Verdicts, g.status().Packets)
				g.stop()
			})
		}
	}
}

// packets is the number of packets to services that the programs have seen.
func packets(g *guard) (n uint64) {
	for _, v := range g.status().XDP.Services {
		for _, c := range v {
			n += c
		}
	}
	return n
}
