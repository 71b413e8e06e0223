package sockets

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// All compared servers answer the flood: none rejects its record sequence numbers as replayed or as too far ahead.
func TestPeersAnswer(t *testing.T) {
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range peers.Servers {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			program, err := s.Build(t.TempDir())
			if err != nil && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			at := start(t, program, id)
			questions := uint64(300)
			m := mix(t, "hello,wrong-cookie")
			if s.Name == "pion" || s.Name == "pion4" || s.Name == "openssl-accept" { // a new client's first message has number 0, a second hello has 1
				m = m[:1]
			}
			var c Counts
			for _, rate := range []float64{300, 100, 30} { // on a busy machine the slowest servers answer fewer
				if c = flood(t, at, m, traffic.Pace{Rate: rate, Limit: questions}); c.Right+c.Wrong >= questions*9/10 {
					break
				}
			}
			if c.Right+c.Wrong < questions*9/10 || c.Right+c.Wrong > questions {
				t.Errorf("%+v", c)
			}
		})
	}
}

// flood sends a mix to a server at a pace, and returns the counts.
func flood(t *testing.T, to netip.AddrPort, m traffic.Mix, pace traffic.Pace) Counts {
	t.Helper()
	f, err := New(Config{Flow: traffic.Flow{Destination: to}, Mix: m, Pace: pace})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f.Counts()
}

// start starts a server on loopback and waits until it answers.
func start(t *testing.T, program string, id peers.Identity) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), await.FreePort(t))
	cmd := exec.Command(program, peers.Arguments(at, id, "")...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	client, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	for answer := make([]byte, 2048); ctx.Err() == nil; {
		_, _ = client.Write(traffic.Captured("openssl-dtls12:1")) // refused until it listens
		_ = client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := client.Read(answer); err == nil {
			return at
		}
	}
	t.Fatal("no answer at " + strconv.Itoa(int(at.Port())))
	return at
}
