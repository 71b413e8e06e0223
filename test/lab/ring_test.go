package lab

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

var floods = flag.Duration("flood", 0, "how long TestRouterUnderAFlood floods, for example 3m; 0: it is skipped")

// TestRouterUnderAFlood floods a guard whose workers answer with a generator in the kernel, in front of a server with
// established clients, while the router's ARP replies are lost as in a full receive ring. It reports every ten seconds,
// with the system's default timers, how many answers left and how many clients heard from the server.
func TestRouterUnderAFlood(t *testing.T) {
	if *floods == 0 {
		t.Skip("takes minutes: -flood 3m")
	}
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprintf("keep-neighbours=%v", keep), func(t *testing.T) {
			p := newPlace(t)
			startServer(t, p.Middle, public[0])
			startServer(t, p.Middle, public[1])
			p.run(append(inline(), "--answer", "workers", "--handoff", "trust", fmt.Sprintf("--keep-neighbours=%v", keep))...)
			newFlooder(t, p).send(10) // so that the router is resolved
			clients := make([]*pionClient, 10)
			for i := range clients {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				var err error
				if clients[i], err = dialPion(ctx, t, p.Lab, public[0]); err != nil {
					t.Fatal(err)
				}
			}
			deafen(p)
			f := newRingFlood(t, p)
			last, heard := f.during(p, clients)
			if keep && (last == 0 || heard == 0) {
				t.Errorf("in the last ten seconds %d answers left, and %d of %d clients heard from the server", last, heard, len(clients))
			}
		})
	}
}

// ringFlood is a generator in the client host's kernel, and a counter of the answers.
type ringFlood struct {
	t       *testing.T
	flood   *xdp.Generator
	counter *xdp.Counter
}

func newRingFlood(t *testing.T, p *place) *ringFlood {
	t.Helper()
	f := &ringFlood{t: t}
	flow := xdp.Flow{Destination: public[0], Sources: spoofed[0]}
	err := p.Middle.Do(func() error {
		i, err := net.InterfaceByName(iface)
		if err == nil {
			flow.Peer = i.HardwareAddr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Client.Do(func() (err error) {
		if flow.Interface, err = net.InterfaceByName(lab.ToMiddle); err != nil {
			return err
		}
		// The client host drops answers as well, and must not recheck the guard's address.
		if err := netlink.NeighSet(&netlink.Neigh{LinkIndex: flow.Interface.Index, State: netlink.NUD_PERMANENT, IP: lab.Middle4.AsSlice(), HardwareAddr: flow.Peer}); err != nil {
			return err
		}
		if f.counter, err = xdp.Count(flow, xdp.Stack); err != nil {
			return err
		}
		first, err := traffic.FirstHello(traffic.Captured("openssl-dtls12:1"))
		if err == nil {
			f.flood, err = xdp.NewMix(flow, traffic.Single(first), xdp.Options{})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.flood.Close(); f.counter.Close() })
	return f
}

// during floods, and returns how many answers left and clients heard from the server in the last ten seconds.
func (f *ringFlood) during(p *place, clients []*pionClient) (answers uint64, heard int) {
	const period = 10 * time.Second
	ctx, cancel := context.WithTimeout(f.t.Context(), *floods)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f.flood.Run(ctx) }()
	began := time.Now()
	var sentBefore, before uint64
	for ctx.Err() == nil {
		next := time.Now().Add(period)
		for time.Now().Before(next) { // servers end silent associations
			heard = hearing(clients, period/2)
			time.Sleep(time.Second)
		}
		sent, err := f.flood.Sent()
		if err != nil {
			f.t.Fatal(err)
		}
		a, err := f.counter.Answers()
		if err != nil {
			f.t.Fatal(err)
		}
		answers = a.Right - before
		f.t.Logf("%3.0f s: %8d ClientHellos, %7d answers; %2d of %d clients heard; the router is %s", time.Since(began).Seconds(), sent-sentBefore, answers,
			heard, len(clients), stateOf(p.neighbour(lab.Client4)))
		sentBefore, before = sent, a.Right
	}
	if err := <-done; err != nil {
		f.t.Error(err)
	}
	return answers, heard
}

// hearing counts the clients whose line is echoed within a time; they repeat it every second.
func hearing(clients []*pionClient, within time.Duration) (n int) {
	results := make(chan bool, len(clients))
	for _, c := range clients {
		go func() { results <- c.hears(within) }()
	}
	for range clients {
		if <-results {
			n++
		}
	}
	return n
}

func (c *pionClient) hears(within time.Duration) bool {
	line := fmt.Appendf(nil, "still there at %d\n", time.Now().UnixNano())
	b := make([]byte, 2048)
	for end := time.Now().Add(within); time.Now().Before(end); {
		if _, err := c.conn.Write(line); err != nil {
			return false
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := c.conn.Read(b)
			if err != nil {
				break
			}
			if bytes.HasSuffix(b[:n], line) {
				return true
			}
		}
	}
	return false
}

// stateOf names the state of a neighbour entry, as ip neigh does.
func stateOf(n *netlink.Neigh) string {
	if n == nil {
		return "unknown"
	}
	names := map[int]string{
		netlink.NUD_INCOMPLETE: "INCOMPLETE", netlink.NUD_REACHABLE: "REACHABLE", netlink.NUD_STALE: "STALE", netlink.NUD_DELAY: "DELAY",
		netlink.NUD_PROBE: "PROBE", netlink.NUD_FAILED: "FAILED",
	}
	return names[n.State]
}
