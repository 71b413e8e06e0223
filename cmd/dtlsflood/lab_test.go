package main

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// newLab makes the network of a test.
func newLab(t *testing.T, name string) *lab.Lab {
	t.Helper()
	l, err := lab.New(name)
	if errors.Is(err, os.ErrPermission) && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// serve starts a server on the guard's host that accepts every cookie.
func serve(t *testing.T, l *lab.Lab) {
	t.Helper()
	conn, err := l.Middle.ListenUDP(netip.AddrPortFrom(lab.Middle4, 4433).String())
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
			var h hello.ClientHello
			if hello.Parse(b[:n], &h) == hello.OK && len(h.Cookie) > 0 {
				_, _ = conn.WriteToUDPAddrPort([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 12, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, peer)
			}
		}
	}()
}

// protect puts a guard in front of the lab's guard host and returns its Ethernet address.
func protect(t *testing.T, l *lab.Lab, p bpf.Policy) string {
	t.Helper()
	if err := l.Bare(); err != nil {
		t.Fatal(err)
	}
	g, err := bpf.Load(bpf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	secret, err := cookie.NewSecret(strings.NewReader("a secret of the tests, 32 bytes long"))
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(g.SetPolicy(p), g.SetSecret(cookie.NewKeyring(secret, 7).Current(), nil),
		l.Middle.Do(func() error {
			_, err := g.Attach(lab.ToClient, bpf.AttachNative)
			return err
		}))
	for _, a := range []netip.Addr{lab.Middle4, lab.Middle6} {
		err = errors.Join(err, g.SetService(bpf.Service{ServiceKey: bpf.ServiceKey{Address: a, Port: 4433}, Answer: bpf.AnswerXDP}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return toClient(t, l)
}

// Both engines that send frames keep their rate, the guard's answers come back and are right, and clients at the same time are
// served like any others.
func TestFloodOfFrames(t *testing.T) {
	l := newLab(t, "dtlsflood")
	mac := protect(t, l, bpf.Policy{})
	serve(t, l)
	for _, engine := range []string{"xdp", "sendmmsg"} {
		t.Run(engine, func(t *testing.T) {
			rate := 20000.0
			if engine == "sendmmsg" { // a veth delivers the guard's answers only if this end has a program; engine xdp has its own
				rate = 5000
				if err := l.PassXDP(l.Client, lab.ToMiddle); err != nil {
					t.Fatal(err)
				}
			}
			holdsRate(t, rate, func(args ...string) (int, string, string) {
				return inClient(t, l, append(args, "--engine", engine, "-i", lab.ToMiddle, "-d", lab.Middle4.String(), "-m", mac,
					"--mix", "hello=4,large,pion,dtls10", "--return", "1", "--sample", "50")...)
			}, func(all told) {
				c := all.Clients
				if n := c["clients"]; n == 0 || c["same"] != n || c["accepted"] != n || c["compared"] != n || c["shared"]+c["wrong"] != 0 {
					t.Errorf("sampled clients: %v, faults %v", c, all.Wrong)
				}
				if l := all.Latency; l.P50 <= 0 || l.P50 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max {
					t.Errorf("latency %+v", *l)
				}
			})
		})
	}
	// Answers to the flood's sources go to the engine, so a client must not use one of them.
	code, _, stderr := inClient(t, l, "-i", lab.ToMiddle, "-d", lab.Middle4.String(), "-m", mac, "--src-cidr", "198.18.0.0/24")
	if code != exitUsage || !strings.Contains(stderr, "--sample 0 does without") {
		t.Errorf("sources with the interface's own address: exit %d, %s", code, stderr)
	}
}

// A search finds the guard's rate limit.
func TestNonDropRateOfTheKernel(t *testing.T) {
	l := newLab(t, "dtlsflood-ndr")
	const limit = 1000 // a fifth of what a busy machine can send
	mac := protect(t, l, bpf.Policy{AnswerRate: bpf.Rate{PerSecond: limit, Burst: limit / 10}})
	var code int
	var stdout, stderr string
	var all []told
	var last told
	for range 4 { // a machine that cannot send even this much at the moment is the limit itself
		code, stdout, stderr = inClient(t, l, "-i", lab.ToMiddle, "-d", lab.Middle4.String(), "-m", mac, "--ndr", "0.05", "--duration", "1s", "--json", "-Q", "2000")
		all = lines(t, stdout)
		if last = all[len(all)-1]; last.Limit != "generator" {
			break
		}
	}
	if code != exitOK || last.Type != "ndr" || last.Limit != "service" || strings.Count(stdout, `"type":"step"`) != len(all)-1 {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	// The bucket's burst and the loss that is allowed are on top. A busy machine finds less: how much less is not tested.
	if last.Rate <= 0 || last.Rate > limit*1.3 {
		t.Errorf("found %v per second, and the guard answers %d", last.Rate, limit)
	}
}
