package scenario

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// bulkSources are the addresses of many clients, none of them a source of the flood; bulkPorts is the number of ports of
// each of them.
const (
	bulkSources = "198.18.64.0/18"
	bulkPorts   = 4
	bulkAtOnce  = 128 // questions, half of a veth's ring
	bulkPause   = 200 * time.Millisecond
	bulkStalls  = 10 // pauses without an answer after which none is expected
)

// withFlows opens verified flows up to each of the numbers, and calls then at each.
func (b *Testbed) withFlows(numbers []int, then func(n int) error) error {
	if err := b.bulkRoutes(); err != nil {
		return err
	}
	var bulk []*bulkPort
	defer func() {
		for _, p := range bulk {
			p.conn.Close()
		}
	}()
	made := 0
	for _, n := range numbers {
		for made < n {
			if len(bulk) == 0 || bulk[len(bulk)-1].made == bulkAddresses {
				p, err := b.bulkPort(len(bulk))
				if err != nil {
					return err
				}
				bulk = append(bulk, p)
			}
			p := bulk[len(bulk)-1]
			want := min(n-made, bulkAddresses-p.made, bulkAtOnce)
			if err := p.verify(b.Service, want); err != nil {
				return fmt.Errorf("after %d flows: %w", made, err)
			}
			made += want
		}
		if err := then(n); err != nil {
			return err
		}
	}
	return nil
}

// bulkAddresses is the number of bulkSources without the first and the last.
const bulkAddresses = 1<<14 - 2

// bulkRoutes makes the bulk addresses local to the client's namespace, routes them there from the guard's, and widens the guard's port range.
func (b *Testbed) bulkRoutes() error {
	_, sources, err := net.ParseCIDR(bulkSources)
	if err != nil {
		return err
	}
	if err := b.Lab.Middle.Do(func() error {
		if err := netlink.RouteAdd(&netlink.Route{Dst: sources, Gw: lab.Client4.AsSlice()}); err != nil {
			return fmt.Errorf("route to many clients: %w", err)
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("1024 65535"), 0)
	}); err != nil {
		return err
	}
	return b.Lab.Client.Do(func() error {
		lo, err := interfaceNamed("lo")
		if err != nil {
			return err
		}
		const local, host = 255, 254 // the table and the scope of local addresses
		if err := netlink.RouteAdd(&netlink.Route{Dst: sources, LinkIndex: lo.Index, Type: 2 /* RTN_LOCAL */, Table: local, Scope: host}); err != nil {
			return fmt.Errorf("make many addresses the client's: %w", err)
		}
		return nil
	})
}

// bulkPort is a socket with one port at all bulk addresses.
type bulkPort struct {
	conn   net.PacketConn
	packet *ipv4.PacketConn
	made   int // flows, one for each address from the first on
}

func (b *Testbed) bulkPort(i int) (p *bulkPort, err error) {
	const firstPort = 2000
	if i == bulkPorts {
		return nil, fmt.Errorf("no more than %d flows", bulkPorts*bulkAddresses)
	}
	p = new(bulkPort)
	err = b.Lab.Client.Do(func() (err error) {
		p.conn, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", firstPort+i))
		return err
	})
	if err != nil {
		return nil, err
	}
	p.packet = ipv4.NewPacketConn(p.conn)
	if err := p.packet.SetControlMessage(ipv4.FlagDst, true); err != nil {
		p.conn.Close()
		return nil, err
	}
	return p, nil
}

// verify does the cookie exchange for the next n addresses: it answers HelloVerifyRequests; any other datagram comes
// from the server and shows that its client was verified.
func (p *bulkPort) verify(service netip.AddrPort, n int) error {
	done := make(map[[4]byte]bool, n)
	buf := make([]byte, recordRoom)
	for range bulkStalls {
		for i := range n {
			if a := bulkAddress(p.made + i); !done[a] {
				if err := p.send(hellotest.New().Bytes(), a, service); err != nil {
					return err
				}
			}
		}
		for len(done) < n {
			if err := p.conn.SetReadDeadline(time.Now().Add(bulkPause)); err != nil {
				return err
			}
			k, to, _, err := p.packet.ReadFrom(buf)
			if os.IsTimeout(err) {
				break
			}
			if err != nil {
				return err
			}
			const helloVerify, typeAt, cookieAt = 3, 13, 27
			a := [4]byte(to.Dst.To4())
			if k <= cookieAt || buf[typeAt] != helloVerify {
				done[a] = true
				continue
			}
			second := hellotest.New()
			second.MessageSeq, second.RecordSeq = 1, 1
			second.Cookie = append(second.Cookie, buf[cookieAt+1:cookieAt+1+int(buf[cookieAt])]...)
			if err := p.send(second.Bytes(), a, service); err != nil {
				return err
			}
		}
		if len(done) == n {
			p.made += n
			return nil
		}
	}
	return fmt.Errorf("%d of %d clients were not let through", n-len(done), n)
}

func (p *bulkPort) send(d []byte, from [4]byte, service netip.AddrPort) error {
	_, err := p.packet.WriteTo(d, &ipv4.ControlMessage{Src: from[:]}, net.UDPAddrFromAddrPort(service))
	return err
}

// bulkAddress is the i-th bulk address.
func bulkAddress(i int) [4]byte {
	i++ // skip the network's own address
	return [4]byte{198, 18, byte(64 + i>>8), byte(i)}
}
