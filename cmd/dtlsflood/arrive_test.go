package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/bpf"
)

// inClient runs a command line in the client's namespace.
func inClient(t *testing.T, l *lab.Lab, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	if err := l.Client.Do(func() error {
		code, stdout, stderr = runFlood(t, args...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return code, stdout, stderr
}

// toClient is the Ethernet address of the guard host.
func toClient(t *testing.T, l *lab.Lab) string {
	t.Helper()
	dev, err := l.Middle.Netlink().LinkByName(lab.ToClient)
	if err != nil {
		t.Fatal(err)
	}
	return dev.Attrs().HardwareAddr.String()
}

// Each kind of datagram arrives at a socket, so the kernel there accepted all lengths and checksums, and is exactly
// what the mix has for its source.
func TestEveryKindArrives(t *testing.T) {
	l := newLab(t, "arrive")
	// A veth takes redirected frames if the other end has a program.
	if err := l.PassXDP(l.Middle, lab.ToClient); err != nil {
		t.Fatal(err)
	}
	const mix, n = "hello,gnutls,mbedtls,pion,large,dtls10,wrong-cookie,junk,record", 300
	want, err := traffic.ParseMix(mix, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, engine := range []string{"xdp", "sendmmsg"} {
		for to, sources := range map[netip.Addr]string{lab.Middle4: "198.18.128.0/17", lab.Middle6: "2001:2:0:8000::/96"} {
			t.Run(fmt.Sprintf("%s to %v", engine, to), func(t *testing.T) {
				at := netip.AddrPortFrom(to, 4433)
				server, err := l.Middle.ListenUDP(at.String())
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				if err := server.SetReadBuffer(1 << 20); err != nil {
					t.Fatal(err)
				}
				// Nobody answers, and the end of the run says so.
				code, stdout, stderr := inClient(t, l, "--engine", engine, "-i", lab.ToMiddle, "-d", to.String(), "-m", toClient(t, l),
					"--mix", mix, "-n", fmt.Sprint(n), "-Q", "1000", "--src-ports", "1000-1999", "--duration", "20s", "--sample", "0")
				if code != exitRun || !strings.Contains(stderr, "no answer at all") {
					t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
				}
				checkArrived(t, server, want, netip.MustParsePrefix(sources), n)
			})
		}
	}
}

func checkArrived(t *testing.T, server *net.UDPConn, mix traffic.Mix, sources netip.Prefix, n int) {
	t.Helper()
	seen := make(map[string]int)
	b := make([]byte, 2048)
	for i := range n {
		if err := server.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
			t.Fatal(err)
		}
		size, from, err := server.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !sources.Contains(from.Addr()) || from.Port() < 1000 || from.Port() > 1999 {
			t.Fatalf("from %v", from)
		}
		item := mix.Of(from)
		if !slices.ContainsFunc(item.Templates, func(tp traffic.Template) bool { return string(tp.Append(nil, from)) == string(b[:size]) }) {
			t.Fatalf("%v sent % x, which is no %s", from, b[:size], item.Name)
		}
		seen[item.Name]++
	}
	for _, item := range mix {
		if seen[item.Name] == 0 {
			t.Errorf("no %s among %d datagrams", item.Name, n)
		}
	}
}

// A guard in the kernel answers the questions of both engines over both families, and the answers are right.
func TestGuardAnswersBothEngines(t *testing.T) {
	l := newLab(t, "answers")
	mac := protect(t, l, bpf.Policy{})
	for _, engine := range []string{"xdp", "sendmmsg"} {
		if engine == "sendmmsg" { // a veth delivers the guard's answers only if this end has a program; engine xdp has its own
			if err := l.PassXDP(l.Client, lab.ToMiddle); err != nil {
				t.Fatal(err)
			}
		}
		for _, to := range []netip.Addr{lab.Middle4, lab.Middle6} {
			code, stdout, stderr := inClient(t, l, "--engine", engine, "-i", lab.ToMiddle, "-d", to.String(), "-m", mac,
				"--mix", "hello=4,large,wrong-cookie,dtls10,junk", "-Q", "2000", "-n", "1000", "--sample", "0", "--json")
			all := lines(t, stdout)
			sum := all[len(all)-1]
			// Seven of nine datagrams are questions, give or take chance; a busy machine loses few.
			if !ended(code, stderr) || sum.Questions < 700 || sum.Questions > 860 || sum.Right < sum.Questions*98/100 || sum.Right != sum.Answers {
				t.Errorf("%s to %v: exit %d\n%s%s", engine, to, code, stdout, stderr)
			}
		}
	}
}

// What must not be sent is refused although there is an interface, and errors say what is missing.
func TestInterfaceMistakes(t *testing.T) {
	l := newLab(t, "mistakes")
	guard := "-i " + lab.ToMiddle + " -d "
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{guard + "198.18.0.255", "is broadcast on 198.18.0.0/24", exitUsage},
		{guard + "198.18.0.255 --i-own-this-network", "is broadcast on 198.18.0.0/24", exitUsage},
		{guard + "198.18.0.255 --engine sendmmsg", "is broadcast on 198.18.0.0/24", exitUsage},
		{guard + "224.0.0.251 --i-own-this-network", "is a multicast group", exitUsage},
		{guard + "198.18.1.2", "not on a network of", exitUsage},
		{guard + "2001:2:0:2::2 --engine sendmmsg", "not on a network of", exitUsage},
		{guard + lab.Client4.String(), "this host's own", exitUsage},
		{guard + "198.18.0.1 -m pink", "invalid MAC address", exitUsage},
		{guard + "198.18.0.1 -m ff:ff:ff:ff:ff:ff", "address of a group", exitUsage},
		{guard + "198.18.0.1 -m 02:00:00:00:00:01 --src-cidr 2001:2::/96", "destination's family", exitUsage},
		{guard + "2001:2:0:1::1 -m 02:00:00:00:00:01 --src-cidr 2001:db8::/32", "want at least /96", exitUsage},
		{guard + "198.18.0.1 -m 02:00:00:00:00:01 --src-cidr 8.8.8.0/24", "--i-own-this-network", exitUsage},
		{guard + "198.18.0.1 -m 02:00:00:00:00:01 --src-cidr 8.8.8.0/24 --engine sendmmsg", "--i-own-this-network", exitUsage},
		{guard + "198.18.0.1 -m 02:00:00:00:00:01 --src-ports 9-3", "the smaller first", exitUsage},
		{guard + "198.18.0.77", "ping it first", exitRun},
		{guard + "198.18.1.2 --i-own-this-network", "Ethernet address of 198.18.0.1 is not known", exitRun},
		{"-i lo -d 198.18.0.1 --i-own-this-network -m 02:00:00:00:00:01", "loopback is reached without -i", exitUsage},
	} {
		code, _, stderr := inClient(t, l, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit %d, %s, want %d with %q", c.args, code, stderr, c.code, c.want)
		}
	}
	if err := l.Client.Run("ip", "link", "set", lab.ToMiddle, "down"); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := inClient(t, l, strings.Fields(guard+"198.18.0.1")...); code != exitRun || !strings.Contains(stderr, "ip link set "+lab.ToMiddle+" up") {
		t.Errorf("an interface that is down: exit %d, %s", code, stderr)
	}
}

// Without privileges the engines that need them say so, and name the engine that does not.
func TestUnprivileged(t *testing.T) {
	l := newLab(t, "unprivileged")
	for _, engine := range []string{"xdp", "sendmmsg"} {
		var code int
		var stderr string
		// The thread that gave up its privileges ends with Do.
		if err := l.Client.Do(func() error {
			none := [2]unix.CapUserData{}
			if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
				return err
			}
			code, _, stderr = runFlood(t, "--engine", engine, "-i", lab.ToMiddle, "-d", lab.Middle4.String(), "-m", "02:00:00:00:00:01")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if code != exitRun || !strings.Contains(stderr, "root") || strings.Contains(stderr, "ethtool") || !strings.Contains(stderr, "loopback") || strings.Contains(stderr, "MEMLOCK") {
			t.Errorf("%s: exit %d, %s", engine, code, stderr)
		}
	}
}

// A real server answers forged sources, once its host has a route for them to this one.
func TestServerAnswersForgedSources(t *testing.T) {
	l := newLab(t, "forged")
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	program, err := peers.Find("openssl").Build(t.TempDir())
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	// A veth takes redirected frames if the other end has a program. At this end xdp has its own.
	if err := errors.Join(l.Bare(), l.PassXDP(l.Middle, lab.ToClient)); err != nil {
		t.Fatal(err)
	}
	for _, r := range [][]string{{"-4", "198.18.128.0/17", lab.Client4.String()}, {"-6", "2001:2:0:8000::/96", lab.Client6.String()}} {
		if err := l.Middle.Run("ip", r[0], "route", "add", r[1], "via", r[2]); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []netip.Addr{lab.Middle4, lab.Middle6} {
		at := netip.AddrPortFrom(to, 4433)
		cmd := exec.Command(program, peers.Arguments(at, id, "")...)
		cmd.Stderr = t.Output()
		if err := l.Middle.Start(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		await.Eventually(t, "the server listens", func() bool { return peers.Listens(cmd.Process.Pid, at) })
		for _, engine := range []string{"sendmmsg", "xdp"} {
			code, stdout, stderr := inClient(t, l, "--engine", engine, "-i", lab.ToMiddle, "-d", to.String(), "-m", toClient(t, l),
				"-Q", "500", "-n", "300", "--sample", "0", "--json")
			all := lines(t, stdout)
			if sum := all[len(all)-1]; !ended(code, stderr) || sum.Right < sum.Questions*9/10 || sum.Right != sum.Answers {
				t.Errorf("%s to %v: exit %d\n%s%s", engine, to, code, stdout, stderr)
			}
		}
	}
}
