package capture

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

const played = 60

// players are programs that replay a file to an interface.
var players = map[string]struct {
	write func(*os.File, *traffic.Flow, traffic.Mix) error
	args  func(file, device string) []string
}{
	"tcpreplay": {
		func(w *os.File, f *traffic.Flow, m traffic.Mix) error { return Pcap(w, f, m, played, 1000) },
		func(file, device string) []string { return []string{"-q", "-i", device, file} },
	},
	"trafgen": {
		func(w *os.File, f *traffic.Flow, m traffic.Mix) error { return Trafgen(w, f, m, played) },
		func(file, device string) []string {
			return []string{"--in", file, "--out", device, "-n", "60", "-P", "1", "--no-sock-mem", "--notouch-irq", "--no-cpu-stats"}
		},
	},
}

// Replayed frames arrive at a socket, so the kernel accepted all lengths and checksums, and have the content that the mix
// has for their source.
func TestPlayersPlayIt(t *testing.T) {
	l, err := lab.New("capture")
	if errors.Is(err, os.ErrPermission) && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mix, err := traffic.ParseMix("hello=3,large,junk,record,dtls10,wrong-cookie", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range players {
		for _, to := range []netip.Addr{lab.Middle4, lab.Middle6} {
			t.Run(name+" to "+to.String(), func(t *testing.T) { play(t, l, name, to, mix) })
		}
	}
}

func play(t *testing.T, l *lab.Lab, name string, to netip.Addr, mix traffic.Mix) {
	tool, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("not installed: ", err)
	}
	if err != nil {
		t.Fatal("apt-get install tcpreplay netsniff-ng: ", err)
	}
	f := &traffic.Flow{Destination: netip.AddrPortFrom(to, 4433), Sources: netip.MustParsePrefix("198.18.0.128/25")}
	if to.Is6() {
		f.Sources = netip.MustParsePrefix("2001:2:0:1::8000:0/112")
	}
	near, err := l.Client.Netlink().LinkByName(lab.ToMiddle)
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Middle.Netlink().LinkByName(lab.ToClient)
	if err != nil {
		t.Fatal(err)
	}
	f.Interface = &net.Interface{HardwareAddr: near.Attrs().HardwareAddr}
	f.Peer = far.Attrs().HardwareAddr
	server, err := l.Middle.ListenUDP(f.Destination.String())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "flood"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(players[name].write(file, f, mix), file.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.Client.Run(tool, players[name].args(file.Name(), lab.ToMiddle)...); err != nil {
		t.Fatal(err)
	}
	b, hellos := make([]byte, 2048), 0
	for i := range played {
		if err := server.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
			t.Fatal(err)
		}
		n, from, err := server.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		found := false
		for _, tp := range mix.Of(from).Templates {
			found = found || string(f.Datagram(&tp, from)) == string(b[:n])
		}
		if !found {
			t.Fatalf("from %v: % x", from, b[:n])
		}
		if hello.Parse(b[:n], new(hello.ClientHello)) == hello.OK {
			hellos++
		}
	}
	if hellos == 0 || hellos == played {
		t.Errorf("%d ClientHellos of %d", hellos, played)
	}
}
