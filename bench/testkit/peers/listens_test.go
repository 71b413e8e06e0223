package peers

import (
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestListens(t *testing.T) {
	for _, c := range []struct {
		network, at string
		v4, v6      bool
	}{{"udp4", "127.0.0.1:0", true, false}, {"udp6", "[::1]:0", true, true}} { // whether udp6 is dual-stack, the kernel does not say
		conn, err := net.ListenPacket(c.network, c.at)
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		listens := func(addr string) bool {
			return Listens(os.Getpid(), netip.AddrPortFrom(netip.MustParseAddr(addr), port))
		}
		if v4, v6 := listens("127.0.0.1"), listens("::1"); v4 != c.v4 || v6 != c.v6 {
			t.Errorf("%s: %v for IPv4 and %v for IPv6", c.network, v4, v6)
		}
		conn.Close()
	}
}
