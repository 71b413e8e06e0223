package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/bench/result"
)

const (
	// handshakeClients are at it at the same time: one that waits for a retransmission should not keep all others
	// up, and many would measure how they wait for each other.
	handshakeClients = 4
	// handshakePatience sees retransmissions after 1, 3 and 7 s (RFC 6347 section 4.2.4.1), and an answer to the last.
	handshakePatience = 8 * time.Second
)

// Trial has real clients do handshakes with a real server during a flood of several rates.
type Trial struct {
	Name, Title string
	Template    gen.Template
	Subjects    []*Subject
}

// level is a flood's rate as a share of what the guard can answer; beyond 1 the link is the first to lose.
type level struct {
	name  string
	share float64
}

var levels = []level{{"none", 0}, {"a quarter of the guard's rate", 0.25}, {"half of the guard's rate", 0.5}, {"the guard's rate", 1}, {"all of the generator's", -1}}

// handshakesEach is about what handshakes take that wait for a flood.
const handshakesEach = 10 * time.Millisecond

// Estimate is about how long the trial takes.
func (t *Trial) Estimate(s *Settings) (all time.Duration) {
	for _, subject := range t.Subjects {
		if subject.Skip == "" {
			all += setUp + time.Duration(s.Handshakes)*handshakesEach
		}
	}
	return all*time.Duration(len(levels)) + setUp + s.Window
}

// Run tries each subject at each level.
func (t *Trial) Run(s *Settings) (*result.Outcome, error) {
	o := &result.Outcome{Name: t.Name, Title: t.Title}
	most, err := t.mostAnswers(s)
	if err != nil {
		return nil, err
	}
	for _, l := range levels {
		for _, subject := range t.Subjects {
			if subject.Skip != "" {
				o.Rows = append(o.Rows, result.Row{Subject: subject.Name, Skipped: subject.Skip})
				continue
			}
			h, err := t.try(subject, l, most, s.Handshakes)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", t.Name, subject.Name, err)
			}
			o.Handshakes = append(o.Handshakes, *h)
			fmt.Fprintf(s.Progress, "%s %s, flood: %s: %d of %d\n", t.Name, h.Subject, h.Flood, h.Succeeded, h.Tried)
		}
	}
	return o, nil
}

// mostAnswers is how many answers a second the guard gives here.
func (t *Trial) mostAnswers(s *Settings) (most float64, err error) {
	b, err := newBed(guardSubject("guard", guardOptions{}), &t.Template)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	run, err := b.measure(0, s.Window)
	return run.Right, err
}

func (t *Trial) try(subject *Subject, l level, most float64, tries int) (h *result.Handshakes, err error) {
	b, err := newBed(subject, &t.Template)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	h = &result.Handshakes{Subject: subject.Name, Flood: l.name, Tried: tries}
	if l.share == 0 {
		b.handshakes(h)
		return h, nil
	}
	var from, to reading
	err = b.under(max(0, l.share*most), func() (err error) {
		time.Sleep(settle)
		if from, err = b.read(); err != nil {
			return err
		}
		b.handshakes(h)
		to, err = b.read()
		return err
	})
	run := b.difference(&from, &to)
	h.Offered, h.Busy, h.LinkLoss = run.Offered, run.Busy, max(0, 1-run.Received/run.Offered)
	return h, err
}

// handshakes fills in what became of h.Tried of them.
func (b *Bed) handshakes(h *result.Handshakes) {
	turns := make(chan struct{}, handshakeClients)
	var mu sync.Mutex
	var took []float64
	var all sync.WaitGroup
	for range h.Tried {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			began := time.Now()
			if b.handshake() != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, float64(time.Since(began))/float64(time.Millisecond))
		})
	}
	all.Wait()
	if h.Succeeded = len(took); h.Succeeded > 0 {
		slices.Sort(took)
		h.P50, h.P99 = took[len(took)/2], took[min(len(took)-1, len(took)*99/100)]
	}
}

// handshake does one from the client's namespace.
func (b *Bed) handshake() error {
	var conn *net.UDPConn
	err := b.Lab.Client.Do(func() (err error) {
		conn, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(b.Service))
		return err
	})
	if err != nil {
		return err
	}
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

// connected is a connected socket where one that is not is wanted.
type connected struct{ *net.UDPConn }

// WriteTo sends to the peer, whatever address is given.
func (c *connected) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }
