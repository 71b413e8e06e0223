package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dtls3 "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v4"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// socket opens a UDP socket in the client host.
func socket(l *lab.Lab) (s *net.UDPConn, err error) {
	err = l.Client.Do(func() (err error) {
		s, err = net.ListenUDP("udp", nil)
		return err
	})
	return s, err
}

// attempt does a handshake in either version of DTLS, sends a line and waits for its echo.
func attempt(t *testing.T, l *lab.Lab, to netip.AddrPort, late bool) error {
	s, err := socket(l)
	if err != nil {
		return err
	}
	var conn interface {
		net.Conn
		HandshakeContext(context.Context) error
	}
	if late {
		conn, err = dtls.Client(s, net.UDPAddrFromAddrPort(to), dtls.WithInsecureSkipVerify(true))
	} else {
		conn, err = dtls3.ClientWithOptions(s, net.UDPAddrFromAddrPort(to), dtls3.WithInsecureSkipVerify(true))
	}
	if err != nil {
		s.Close()
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("ping\n")); err != nil {
		return err
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if err == nil && string(b[:n]) != "ping\n" {
		err = fmt.Errorf("heard %q", b[:n])
	}
	return err
}

// resident is the resident memory of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// Servers without cookies are protected inline: a client proves its address by a failed attempt, in DTLS 1.2 and
// 1.3, whoever answers. The server receives nothing of a flood and keeps no state.
func TestReset(t *testing.T) {
	for name, s := range map[string]struct {
		server, cookies string
		late            bool
		mac             string
	}{"1.2": {"openssl-accept", "none", false, "hmac-sha256"}, "1.3": {"pion4", "13", true, "siphash"}} {
		for _, answer := range []string{"xdp", "workers"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				server := startPeer(t, p.Middle, public[0], s.server, s.cookies)
				g := p.run(first("--answer", answer, "--unverified", "drop", "--cookie-mac", s.mac)...)
				f := newFlooder(t, p)
				server.tap.look()
				received, memory := server.tap.received, resident(t, server.Cmd.Process.Pid)
				hello := bytes.Clone(hellotest.Retries()[0].Hello)
				sent := 0
				g.Until("the flood has been seen", func() bool {
					for range 1000 {
						hello[27], hello[28], hello[29] = byte(sent), byte(sent>>8), byte(sent>>16)
						d := hello
						if sent%2 == 0 {
							d = f.datagram(sent)
						}
						if err := sendFrame(f, f.packet(0, d)); err != nil {
							t.Fatal(err)
						}
						sent++
					}
					return packets(g) >= 3000
				})
				if err := attempt(t, p.Lab, public[0], s.late); err == nil || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the first attempt: %v, want an alert", err)
				}
				server.tap.look()
				if n := server.tap.received - received; n > 0 {
					t.Errorf("%d datagrams at the server before a client had proved its address", n)
				}
				if now := resident(t, server.Cmd.Process.Pid); now > memory+4096 {
					t.Errorf("the server's memory grew from %d to %d KiB", memory, now)
				}
				for range 2 {
					if err := attempt(t, p.Lab, public[0], s.late); err != nil {
						t.Errorf("a later attempt: %v", err)
					}
				}
				v := g.status().XDP.Verdicts
				if answer == "xdp" && (v["reset"] != 1 || v["answered"] < 500 || v["pass-address"] < 2) {
					t.Errorf("verdicts %v", v)
				}
				if st := g.status().Services[0]; st.Backends[0].Handoff != "reset" || st.Admission == nil || !st.Admission.Engaged {
					t.Errorf("status %+v", st)
				}
				g.stop()
				p.free()
			})
		}
	}
}

// A denied address gets no answer, an allowed one needs no proof.
func TestAddressLists(t *testing.T) {
	p := newPlace(t)
	startPeer(t, p.Middle, public[0], "pion4", "13")
	g := p.run(first("--answer", "xdp")...)
	tell := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(program(), slices.Concat(args, []string{"--control", p.control})...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	tell("allow", lab.Client4.String())
	if err := attempt(t, p.Lab, public[0], true); err != nil {
		t.Errorf("allowed: %v", err)
	}
	tell("deny", lab.Client4.String()+"/31")
	tell("allow", lab.Client4.String(), "--remove")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	s, err := socket(p.Lab)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dtls.Client(s, net.UDPAddrFromAddrPort(public[0]), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("denied: %v, want silence", err)
	}
	if v := g.status().XDP.Verdicts; v["drop-denied"] == 0 || v["answered"] > 0 {
		t.Errorf("verdicts %v", v)
	}
	g.stop()
}

// sendFrame sends one frame of a flood; a full queue is not an error.
func sendFrame(f *flooder, frame []byte) error {
	if err := unix.Sendto(f.fd, frame, 0, &f.to); err != nil && err != unix.ENOBUFS {
		return err
	}
	return nil
}
