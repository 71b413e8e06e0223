package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
)

const (
	// handshakeRate is the number of clients that start per second, finished or not: so few that they wait for the flood
	// and not for each other, and that the flood, which pauses for them, runs nine tenths of the time.
	handshakeRate = 50
	// handshakePatience includes retransmissions after 1, 3 and 7 s (RFC 6347 section 4.2.4.1), and an answer to the last.
	handshakePatience = 8 * time.Second
)

// FloodRun measures clients, real ones or senders of other datagrams, during floods of several rates.
type FloodRun struct {
	Name, Title string
	Template    xdp.Template
	Subjects    []*Subject // the guard is the first
	Levels      []level
	// Visit runs the clients during the flood and fills in the outcome.
	Visit    func(*Testbed, *result.Handshakes) error
	Targeted bool // the targets of handshakes apply
}

// level is a flood's rate as a share of the guard's highest rate; -1: as fast as the generator can.
type level struct {
	name  string
	share float64
}

// levels begin where a server with sockets is at its limit; beyond the guard's rate the link drops first.
var levels = []level{
	{"none", 0}, {"a 20th of the guard's rate", 0.05}, {"a quarter of the guard's rate", 0.25}, {"half of the guard's rate", 0.5},
	{"three quarters of the guard's rate", 0.75}, {"the guard's rate", 1}, {"all of the generator's", -1},
}

// inlineHandshakes has the server behind the guard's program, which answers in the kernel, and without it.
func inlineHandshakes(w *Fixtures) (*FloodRun, error) {
	t, err := xdp.FirstHello(question())
	if err != nil {
		return nil, err
	}
	server, err := newServer("openssl", w)
	guarded := &Subject{Name: "dtlsguard xdp, inline", At: xdp.Driver, Skip: reason(err), Start: func(b *Testbed) error {
		if err := server.start(b, "trust"); err != nil { // any cookie: the guard has verified it
			return err
		}
		return startGuard(b, guardOptions{})
	}}
	alone := &Subject{Name: "no guard", At: xdp.Stack, Skip: reason(err), Start: func(b *Testbed) error { return server.start(b, "") }}
	guarded.Clients, alone.Clients = true, true
	return &FloodRun{Template: t, Subjects: []*Subject{guarded, alone}, Levels: levels, Visit: (*Testbed).handshakes, Targeted: true}, nil
}

// Estimate is the approximate duration.
func (t *FloodRun) Estimate(s *Settings) (all time.Duration) {
	const last = handshakePatience / 2 // for the last clients, if some of them fail
	for _, subject := range t.Subjects {
		if subject.Skip == "" {
			all += setUp + time.Duration(s.Handshakes)*time.Second/handshakeRate + last
		}
	}
	return all*time.Duration(len(t.Levels)) + setUp + s.Window
}

// Run measures each subject at each level.
func (t *FloodRun) Run(ctx context.Context, s *Settings) (*result.Outcome, error) {
	o := &result.Outcome{Name: t.Name, Title: t.Title}
	for _, subject := range t.Subjects {
		if subject.Skip != "" {
			o.Rows = append(o.Rows, result.Row{Subject: subject.Name, Skipped: subject.Skip})
		}
	}
	if len(o.Rows) > 0 { // the two are only useful together
		return o, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	most, err := t.mostAnswers(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	for _, l := range t.Levels {
		for i, subject := range t.Subjects {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			h, err := t.try(subject, l, most, s)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", t.Name, subject.Name, err)
			}
			h.Targeted = t.Targeted && i == 0 && l.share > 0
			o.Handshakes = append(o.Handshakes, *h)
			fmt.Fprintf(s.Progress, "%s %s, flood: %s: %d of %d, p50 %.1f ms, p99 %.1f ms %v\n", t.Name, h.Subject, h.Flood, h.Succeeded, h.Tried, h.P50, h.P99, h.Disturbed)
		}
	}
	return o, nil
}

// mostAnswers is the guard's highest rate of answers on this machine.
func (t *FloodRun) mostAnswers(s *Settings) (most float64, err error) {
	b, err := newTestbed(guardSubject("guard", guardOptions{}), &t.Template)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	run, err := b.measure(0, s.Window)
	if err == nil && run.Right == 0 {
		err = errors.New("the guard answered nothing")
	}
	return run.Right, err
}

func (t *FloodRun) try(subject *Subject, l level, most float64, s *Settings) (h *result.Handshakes, err error) {
	b, err := newTestbed(subject, &t.Template)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	h = &result.Handshakes{Subject: subject.Name, Flood: l.name, Tried: s.Handshakes}
	during := func(f func() error) error { return b.under(max(0, l.share*most), f) }
	if l.share == 0 {
		during = func(f func() error) error { return f() }
	}
	var from, to reading
	err = during(func() (err error) {
		time.Sleep(settle)
		if from, err = b.read(); err != nil {
			return err
		}
		if err := t.Visit(b, h); err != nil {
			return err
		}
		to, err = b.read()
		return err
	})
	if err != nil {
		return nil, err
	}
	run := b.difference(&from, &to)
	h.Offered, h.Busy = run.Offered, run.Busy
	if run.Offered > 0 {
		h.LinkLoss = max(0, 1-run.Received/run.Offered)
	}
	if !s.KeepDisturbed {
		h.Disturbed = intrusions(&run)
	}
	return h, nil
}

// handshakes starts h.Tried handshakes, each when it is due, and fills in the outcome.
func (b *Testbed) handshakes(h *result.Handshakes) error {
	var mu sync.Mutex
	var took []float64
	var all sync.WaitGroup
	err := b.Lab.Client.Do(func() error {
		ticks := time.NewTicker(time.Second / handshakeRate)
		defer ticks.Stop()
		for range h.Tried {
			<-ticks.C
			conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(b.Service))
			if err != nil {
				return err
			}
			all.Go(func() {
				began := time.Now()
				if handshake(conn) != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, float64(time.Since(began))/float64(time.Millisecond))
			})
		}
		return nil
	})
	all.Wait()
	h.Sum(took)
	return err
}

// handshake does a handshake over conn, and closes it.
func handshake(conn *net.UDPConn) error {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), handshakePatience)
	defer cancel()
	client, err := dtls.ClientWithOptions(&connected{conn}, conn.RemoteAddr(), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.HandshakeContext(ctx)
}

// connected adapts a connected socket to an API for unconnected ones.
type connected struct{ *net.UDPConn }

// WriteTo sends to the peer, whatever address is given.
func (c *connected) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }
