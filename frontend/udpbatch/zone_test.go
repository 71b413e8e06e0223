package udpbatch

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A link-local address keeps its zone: without it, two sockets on one address would have one name.
func TestLinkLocalAddressesKeepTheirZone(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip("a network namespace of its own needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "zone0"}, PeerName: "zone1"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"zone0", "zone1"} {
		iface := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name}}
		addr, err := netlink.ParseAddr("fe80::1/64")
		if err != nil {
			t.Fatal(err)
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := errors.Join(netlink.LinkSetUp(iface), netlink.AddrAdd(iface, addr)); err != nil {
			t.Fatal(err)
		}
		want := netip.MustParseAddrPort("[fe80::1%" + name + "]:4433")
		c, err := Listen(want, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.Local() != want {
			t.Errorf("socket on %v says %v", want, c.Local())
		}
	}
}
