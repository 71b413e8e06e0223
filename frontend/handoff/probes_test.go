package handoff

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
)

var probes = flag.Int("probes", max(1, 20/share), "how often each server of TestProbes is probed on each path (make test-probes: 1000)")

// virtual is a network that is none: a server model answers, by the clock of synctest.
type virtual struct {
	model *server.Model
	ports uint16
}

type virtualLine struct {
	local netip.AddrPort
	inbox []server.Delivery
}

func (l *virtualLine) Local() netip.AddrPort { return l.local }
func (l *virtualLine) Close() error          { return nil }

func (v *virtual) dial(local netip.AddrPort) (line, error) {
	if !local.IsValid() {
		local = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	if local.Port() == 0 {
		v.ports++
		local = netip.AddrPortFrom(local.Addr(), 40000+v.ports)
	}
	return &virtualLine{local: local}, nil
}

func (v *virtual) send(l line, d []byte) {
	c := l.(*virtualLine)
	c.inbox = append(c.inbox, v.model.Send(c.local, d, time.Now())...)
}

func (v *virtual) exchange(_ context.Context, l line, wait time.Duration, question ...[]byte) ([]byte, error) {
	c, now := l.(*virtualLine), time.Now()
	if len(question) > 0 {
		var later []server.Delivery
		for _, d := range c.inbox {
			if d.At.After(now) {
				later = append(later, d)
			}
		}
		c.inbox = later
	}
	for _, d := range question {
		v.send(l, d)
	}
	next := -1
	for i, d := range c.inbox {
		if !d.At.After(now.Add(wait)) && (next < 0 || d.At.Before(c.inbox[next].At)) {
			next = i
		}
	}
	if next < 0 {
		time.Sleep(wait)
		return nil, ErrNoAnswer
	}
	d := c.inbox[next]
	c.inbox = append(c.inbox[:next], c.inbox[next+1:]...)
	time.Sleep(time.Until(d.At))
	return d.Data, nil
}

func (v *virtual) close() {}

// TestProbes probes servers of many kinds over paths of many kinds, and expects the same mode each time.
func TestProbes(t *testing.T) {
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	usual := server.Model{ByPort: true, ByAddress: true}
	with := func(name string, change func(m *server.Model)) server.Model {
		m := usual
		m.Name = name
		change(&m)
		return m
	}
	clock := func(m *server.Model) { m.Tick, m.Takes = time.Second, 30 }
	for _, c := range []struct {
		model  server.Model
		want   Mode
		lossy  bool // also over paths that lose
		checks func(p *Profile) bool
	}{
		{with("address and port", func(*server.Model) {}), Harvest, true, func(p *Profile) bool { return !p.TimeDependent && p.OtherAddresses && !p.PerHello }},
		{with("a clock of seconds", clock), Harvest, true, func(p *Profile) bool { return p.TimeDependent && p.OldTaken && !p.PerHello }},
		{with("any cookie", func(m *server.Model) { m.Trusting = true }), Trust, true, nil},
		{with("any cookie, a clock", func(m *server.Model) { clock(m); m.Trusting = true }), Trust, true, nil},
		{with("CBC suites only", func(m *server.Model) { m.Suites = []uint16{0xc014} }), Harvest, true, nil},
		{with("CBC suites only, any cookie", func(m *server.Model) { m.Suites, m.Trusting = []uint16{0xc014}, true }), Trust, true, nil},
		{with("CCM-8 only, any cookie", func(m *server.Model) { m.Suites, m.Trusting = []uint16{0xc0ae}, true }), Trust, true, nil},
		{with("P-521 only, any cookie", func(m *server.Model) { m.Groups, m.Trusting = []uint16{0x19}, true }), Trust, true, nil},
		{with("no suite in common", func(m *server.Model) { m.Suites = []uint16{0x0081} }), Harvest, true, nil},
		{with("no suite in common, any cookie", func(m *server.Model) { m.Suites, m.Trusting = []uint16{0x0081}, true }), Trust, true, nil},
		{with("no group in common, any cookie", func(m *server.Model) { m.Groups, m.Trusting = []uint16{0x1b}, true }), Trust, true, nil},
		{with("counts", func(m *server.Model) { m.Counts = true }), Harvest, true, nil},
		{with("counts, any cookie", func(m *server.Model) { m.Counts, m.Trusting = true, true }), Replay, true, nil},
		{with("the ClientHello", func(m *server.Model) { m.ByHello = true }), DoubleHVR, true, func(p *Profile) bool { return p.PerHello }},
		{with("the ClientHello, a clock", func(m *server.Model) { clock(m); m.ByHello = true }), DoubleHVR, true, func(p *Profile) bool { return p.PerHello }},
		{with("the ClientHello, once", func(m *server.Model) { m.ByHello, m.Once = true, true }), Reset, true, nil},
		{with("address alone", func(m *server.Model) { m.ByPort = false }), DoubleHVR, true, func(p *Profile) bool { return !p.PerPort }},
		{with("address alone, a clock", func(m *server.Model) { clock(m); m.ByPort = false }), DoubleHVR, true, func(p *Profile) bool { return !p.PerPort }},
		{with("no cookies", func(m *server.Model) { m.NoCookies = true }), Reset, true, nil},
		{with("DTLS 1.3", func(m *server.Model) { m.DTLS13 = true }), Reset, true, func(p *Profile) bool { return p.DTLS13 }},
		{with("silent to wrong cookies", func(m *server.Model) { m.Silent = true }), Harvest, true, nil},
		{with("silent to wrong cookies, a clock", func(m *server.Model) { clock(m); m.Silent = true }), Harvest, true, nil},
		{with("silent to wrong cookies, the ClientHello", func(m *server.Model) { m.ByHello, m.Silent = true, true }), Reset, true, nil},
		{with("one address", func(m *server.Model) { m.Only = local }), Harvest, true, func(p *Profile) bool { return !p.OtherAddresses }},
		{with("one at a time", func(m *server.Model) { m.OneAtATime = true }), Harvest, false, nil},
		{with("one at a time, any cookie", func(m *server.Model) { m.OneAtATime, m.Trusting = true, true }), Trust, false, nil},
		{with("restarts", func(m *server.Model) { m.Restarts, m.Down = 1, 300*time.Millisecond }), Harvest, false, nil},
		{with("restarts, any cookie", func(m *server.Model) { m.Restarts, m.Down, m.Trusting = 1, 300*time.Millisecond, true }), Trust, false, nil},
	} {
		for _, rtt := range []time.Duration{0, 30 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
			for _, loss := range []float64{0, 0.02, 0.05} {
				if loss > 0 && !c.lossy {
					continue
				}
				t.Run(fmt.Sprintf("%s/rtt=%v/loss=%v", c.model.Name, rtt, loss), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						r := rand.New(rand.NewPCG(uint64(rtt)<<8|uint64(len(c.model.Name)), uint64(100*loss)))
						wrong, took := make(map[string]int), time.Duration(0)
						for range *probes {
							m := c.model
							m.RTT, m.Jitter, m.Loss, m.Random = rtt, rtt/10, loss, r
							if m.Restarts > 0 {
								m.Restarts = time.Duration(r.Int64N(int64(4 * time.Second)))
							}
							time.Sleep(time.Duration(r.Int64N(int64(time.Second)))) // where the clock stands
							m.Begin = time.Now().Add(-time.Duration(r.Int64N(int64(time.Second))))
							began := time.Now()
							p, err := probed(t, &m)
							took += time.Since(began)
							switch {
							case err != nil:
								wrong[err.Error()]++
							case p.mode() != c.want:
								wrong[p.mode().String()+": "+modes[p.mode()].why(&p)]++
							case c.checks != nil && !c.checks(&p):
								wrong[fmt.Sprintf("profile %+v", p)]++
							}
						}
						for what, n := range wrong {
							t.Errorf("%d of %d: %s", n, *probes, what)
						}
						t.Logf("%d probes, each of %v", *probes, (took / time.Duration(*probes)).Round(10*time.Millisecond))
					})
				})
			}
		}
	}
}

// probed probes a model, again where nothing came back, as a guard does.
func probed(t *testing.T, m *server.Model) (p Profile, err error) {
	t.Helper()
	at := netip.MustParseAddrPort("127.0.0.1:4433")
	v := &virtual{model: m}
	for range 3 {
		if p, err = proberOn(v, at).probe(t.Context(), patience); !errors.Is(err, ErrNoAnswer) {
			break
		}
	}
	return p, err
}
