package lab

import (
	"crypto/rand"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// asker asks for HelloVerifyRequests from one socket in the client host.
type asker struct {
	t    *testing.T
	conn *net.UDPConn
}

func newAsker(t *testing.T, p *place, to netip.AddrPort) *asker {
	t.Helper()
	return askerIn(t, p.Client, to)
}

// askerIn returns an asker in any host of the lab.
func askerIn(t *testing.T, h *lab.Namespace, to netip.AddrPort) *asker {
	t.Helper()
	a := &asker{t: t}
	if err := h.Do(func() (err error) {
		a.conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.conn.Close() })
	return a
}

// ask sends a ClientHello and returns the length of the cookie that comes back within wait, 0 if none does.
func (a *asker) ask(wait time.Duration) int {
	a.t.Helper()
	var q hello.Probe
	_, _ = rand.Read(q.Random[:])
	_ = a.conn.SetDeadline(time.Now().Add(wait))
	if _, err := a.conn.Write(q.Append(nil)); err != nil {
		return 0 // an ICMP error for the previous one
	}
	b := make([]byte, 2048)
	n, err := a.conn.Read(b)
	if err != nil {
		return 0
	}
	c, _ := hello.HelloVerifyCookie(b[:n])
	return len(c)
}

// The guard's cookies are 32 bytes long, those of the tests' server 16.
const (
	guardCookie  = 32
	serverCookie = 20
)

// until asks until the answer is of the given kind, three times in a row: one may be late on a busy machine.
func (a *asker) until(cookie int, when string) {
	a.t.Helper()
	end := time.Now().Add(patience)
	for right := 0; right < 3; {
		if a.ask(100*time.Millisecond) == cookie {
			right++
			continue
		}
		right = 0
		if time.Now().After(end) {
			a.t.Fatalf("no answer with a cookie of %d bytes %s", cookie, when)
		}
	}
}

// The kernel answers for a daemon that hangs or is dead while its secret is valid; then --on-daemon-loss
// decides, until a daemon runs again.
func TestDaemonLoss(t *testing.T) {
	for loss, then := range map[string]int{"drop": 0, "pass": serverCookie} {
		for name, s := range map[string]syscall.Signal{"hangs": syscall.SIGSTOP, "dies": syscall.SIGKILL} {
			t.Run(loss+"/"+name, func(t *testing.T) {
				p := newPlace(t)
				to := public[0]
				srv := startServer(t, p.Middle, to)
				args := first("--answer", "xdp", "--on-daemon-loss", loss)
				g := p.run(args...)
				a := newAsker(t, p, to)
				a.until(guardCookie, "at first")
				g.signal(s)
				c := openssl()(t, p.Lab, to)
				c.ping("without a daemon")
				c.close()
				a.until(guardCookie, "while the secret is valid")
				g.Kill()

				// The secret of this one is valid for two seconds.
				g = p.run(slices.Concat(args, []string{"--rotate-every", "1s"})...)
				a.until(guardCookie, "after a restart")
				g.signal(s)
				srv.tap.look()
				before := srv.tap.received
				a.until(then, "when the secret is too old")
				srv.tap.look()
				if got := srv.tap.received > before; got != (loss == "pass") {
					t.Errorf("%s: did a ClientHello come to the server? %v", loss, got)
				}
				g.Kill()

				g = p.run(args...)
				a.until(guardCookie, "after another restart")
				if v := g.status().XDP.Verdicts; v[loss+"-daemon-lost"] < 3 {
					t.Errorf("ClientHellos without a daemon are not counted so: %v", v)
				}
				g.stop()
				p.free()
			})
		}
	}
}
