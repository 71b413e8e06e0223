package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/flood/capture"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// runFlood runs a command line.
func runFlood(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	code = Main(t.Context(), args, &out, &log)
	return code, out.String(), log.String()
}

// ended reports whether a run succeeded. A busy machine may have been too slow for the rate.
func ended(code int, stderr string) bool {
	return code == exitOK || code == exitRun && strings.Contains(stderr, "the rate was not reached")
}

// answerer answers ClientHellos on loopback, and returns its port.
func answerer(t *testing.T, answer func([]byte) []byte) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort(answer(b[:n]), peer)
		}
	}()
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	return port
}

func verify(d []byte) []byte { return d[:hello.PutHelloVerify(d, make([]byte, 32))] }

func TestFloodOnLoopback(t *testing.T) {
	right := answerer(t, verify)
	wrong := answerer(t, func(d []byte) []byte { return d })
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"answered":       {[]string{"-p", right, "-Q", "500", "-n", "100"}, exitOK, "of them right "},
		"answered wrong": {[]string{"-p", wrong, "-Q", "500"}, exitRun, "none of them a HelloVerifyRequest"},
		"junk":           {[]string{"-p", wrong, "--mix", "junk"}, exitOK, "answers"},
		"nobody there":   {[]string{"-p", "9", "-Q", "500"}, exitRun, "no answer at all from 127.0.0.1:9"},
		"too fast":       {[]string{"-p", right, "-Q", "1e12"}, exitRun, "the rate was not reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runFlood(t, append([]string{"-d", "127.0.0.1", "--duration", "300ms"}, c.args...)...)
			if code != c.code && (c.code != exitOK || !ended(code, stderr)) || !strings.Contains(stdout+stderr, c.want) {
				t.Errorf("exit %d, want %d with %q\n%s%s", code, c.code, c.want, stdout, stderr)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if code, stdout, _ := runFlood(t, "--version"); code != exitOK || !strings.HasPrefix(stdout, "dtlsflood ") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}

func TestMistakesAreReported(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(file, []byte("no hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"", "want the address and port"},
		{"-d 127.0.0.1 -p 0", "want the address and port"},
		{"-d name", "want the address and port"},
		{"-d 127.0.0.1 more", `unexpected argument "more"`},
		{"-d 127.0.0.1 --engine pigeon", "want sendmmsg, xdp or pcap"},
		{"-d 127.0.0.1 --mix letter", "want one of"},
		{"-d 127.0.0.1 --mix hello=0", "want a weight"},
		{"-d 127.0.0.1 --ndr 2", "want a share"},
		{"-d 127.0.0.1 --duration 0s", "want more"},
		{"-d 127.0.0.1 -b 1000", "at most 256"},
		{"-d 127.0.0.1 --src-cidr all", "--src-cidr"},
		{"-d 127.0.0.1 --src-cidr 198.18.0.0/15", "name an interface to forge others"},
		{"-d 127.0.0.1 --src-ports 1000-2000", "512 at most"},
		{"-d 127.0.0.1 --src-ports many", "want FIRST-LAST"},
		{"-d 127.0.0.1 --hello " + file, "not a datagram in hex"},
		{"-d 127.0.0.1 -t 2", "sends on one thread"},
		{"-d 127.0.0.1 -F 1", "taskset"},
		{"-d 127.0.0.1 -m 02:00:00:00:00:01", "give -i"},
		{"-d 127.0.0.1 --write file", "but for pcap"},
		{"-d 127.0.0.1 --engine pcap", "needs --write FILE"},
		{"-d 198.18.0.1 --engine pcap --write file --duration 1s", "-n says"},
		{"-d 198.18.0.1 --engine pcap --write file -m 01:00:5e:00:00:01", "address of a group"},
		{"-d 224.0.0.1 --engine pcap --write file", "is a multicast group"},
		{"-d ff02::1 -i lo --i-own-this-network", "is a multicast group"},
		{"-d ::ffff:224.0.0.1 -i lo", "is a multicast group"},
		{"-d 255.255.255.255 -i lo --i-own-this-network", "is broadcast"},
		{"-d 127.255.255.255", "is broadcast on 127.0.0.0/8"},
		{"-d 0.0.0.0", "is not an address"},
		{"-d 192.0.2.1", "only 127.0.0.0/8 and ::1"},
		{"-d 192.0.2.1 --i-own-this-network", "only 127.0.0.0/8 and ::1"},
		{"-d 127.0.0.1 --engine xdp", "needs -i INTERFACE"},
		{"-d 127.0.0.1 -i lo", "leave out -i"},
		{"-d 192.0.2.1 -i lo", "loopback is reached without -i"},
		{"-d 2001:db8::1 -i lo --engine sendmmsg", "loopback is reached without -i"},
		{"-d 192.0.2.1 -i none", "no such network interface"},
	} {
		code, _, stderr := runFlood(t, strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit %d, %s, want %q", c.args, code, stderr, c.want)
		}
	}
}

// A captured ClientHello is sent, with all its fragments.
func TestOwnHello(t *testing.T) {
	for file, n := range map[string]int{"openssl.pcap": 1, "gnutls-fragments.pcap": 2} {
		own, err := capture.Read("../../bench/flood/capture/testdata/" + file)
		if err != nil || len(own) != n {
			t.Fatal(len(own), err)
		}
		var unexpected atomic.Int32
		port := answerer(t, func(d []byte) []byte {
			first := slices.Clone(own[0])
			if len(d) == len(first) { // a record sequence number and a random of the source's
				copy(first[5:11], d[5:11])
				copy(first[27:59], d[27:59])
			}
			if string(d) != string(first) && string(d) != string(own[n-1]) {
				unexpected.Add(1)
			}
			if hello.Parse(d, new(hello.ClientHello)) != hello.OK {
				return nil
			}
			return verify(d)
		})
		code, stdout, stderr := runFlood(t, "-d", "127.0.0.1", "-p", port, "--hello", "../../bench/flood/capture/testdata/"+file, "-Q", "500", "-n", "100", "--sample", "0", "--json")
		all := lines(t, stdout)
		if sum := all[len(all)-1]; !ended(code, stderr) || sum.Questions != uint64(100/n) || sum.Right != sum.Questions || unexpected.Load() != 0 {
			t.Errorf("%s: exit %d, %d datagrams are not of it\n%s%s", file, code, unexpected.Load(), stdout, stderr)
		}
	}
}

func TestPcapNeedsNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flood.pcap")
	code, stdout, stderr := runFlood(t, "--engine", "pcap", "--write", file, "-d", "2001:2::1", "-n", "50", "--mix", "large,junk")
	if code != exitOK {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	for _, f := range []string{file, file + ".trafgen"} {
		if i, err := os.Stat(f); err != nil || i.Size() < 1000 {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestNonDropRate(t *testing.T) {
	port := answerer(t, verify)
	code, stdout, stderr := runFlood(t, "-d", "127.0.0.1", "-p", port, "-Q", "200", "--duration", "300ms", "--ndr", "0.5")
	if code != exitRun || !strings.Contains(stderr, "the generator, not the service") || !strings.Contains(stdout, "step: 200 asked for") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	n := 0
	half := answerer(t, func(d []byte) []byte { // answers every second question at any rate
		if n++; n%2 == 0 {
			return nil
		}
		return verify(d)
	})
	code, stdout, stderr = runFlood(t, "-d", "127.0.0.1", "-p", half, "-Q", "200", "--duration", "100ms", "--ndr", "0.1")
	if code != exitRun || !strings.Contains(stderr, "none was found") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
