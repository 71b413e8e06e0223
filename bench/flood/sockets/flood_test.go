package sockets

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// An answer of the guard has no fault; with any byte before the cookie changed it has.
func TestAnswers(t *testing.T) {
	f := &Flood{mix: mix(t, "hello,wrong-cookie,junk")}
	seen := make(map[string]bool)
	for port := range uint16(64) {
		source := netip.AddrPortFrom(netip.MustParseAddr("127.64.0.1"), 512+port)
		item := f.mix.Of(source)
		seen[item.Name] = true
		d := item.Templates[0].Append(nil, source)
		if item.Name == "junk" {
			if f.fault(source, verify(mix(t, "hello")[0].Templates[0].Append(nil, source))) == answer.None {
				t.Error("an answer to junk counts as right")
			}
			continue
		}
		d = verify(d)
		if f.fault(source, d) != answer.None {
			t.Fatalf("%s: the answer %x counts as wrong", item.Name, d)
		}
		for i := range len(d) - 20 {
			if d[i] ^= 1; f.fault(source, d) == answer.None {
				t.Errorf("%s: an answer with byte %d changed counts as right", item.Name, i)
			}
			d[i] ^= 1
		}
		if f.fault(source, d[:len(d)-1]) != answer.Lengths || f.fault(source, nil) != answer.Kind {
			t.Errorf("%s: an answer cut short counts as right", item.Name)
		}
	}
	if len(seen) != 3 {
		t.Errorf("sources sent only %v", seen)
	}
}

// verify builds the answer to a ClientHello.
func verify(d []byte) []byte { return d[:hello.PutHelloVerify(d, make([]byte, 20))] }

func mix(t *testing.T, text string) traffic.Mix {
	t.Helper()
	m, err := traffic.ParseMix(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// outcome is what a service received.
type outcome struct {
	seen                     map[string]int // by name of the item
	unexpected               [][]byte       // sent by no item's source
	later                    int            // fragments after the first one of a ClientHello
	questions, answered, bad uint64
	sources                  map[netip.Addr]bool
	ports                    map[uint16]bool
}

// serve answers questions until the socket is closed, every third one wrongly.
func serve(c *net.UDPConn, m traffic.Mix) outcome {
	o := outcome{seen: make(map[string]int), sources: make(map[netip.Addr]bool), ports: make(map[uint16]bool)}
	for b := make([]byte, 2000); ; {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return o
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		o.sources[from.Addr()], o.ports[from.Port()] = true, true
		item := m.Of(from)
		i := slices.IndexFunc(item.Templates, func(tp traffic.Template) bool { return bytes.Equal(tp.Append(nil, from), b[:n]) })
		if i < 0 {
			o.unexpected = append(o.unexpected, slices.Clone(b[:n]))
			continue
		}
		o.seen[item.Name]++
		if i > 0 {
			o.later++
		}
		if !item.Templates[i].Question {
			continue
		}
		o.questions++
		if hello.Parse(b[:n], new(hello.ClientHello)) != hello.OK {
			continue
		}
		o.answered++
		n = hello.PutHelloVerify(b[:n], make([]byte, 32))
		if o.answered%3 == 0 {
			o.bad++
			b[10] ^= 1 // the record sequence number's last byte
		}
		_, _ = c.WriteToUDPAddrPort(b[:n], from)
	}
}

// all is every kind of datagram.
const all = "hello=4,gnutls,mbedtls,pion,large,dtls10,wrong-cookie=2,junk=2,record"

// Every kind of datagram reaches a service that spoils every third answer, and all sources are used.
func TestRun(t *testing.T) {
	for at, least := range map[string]struct{ sources, ports int }{"127.0.0.1": {160, ports4}, "::1": {1, 90}} {
		t.Run(at, func(t *testing.T) {
			c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(at)})
			if err != nil && at == "::1" {
				t.Skip("no IPv6 here: ", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m := mix(t, all)
			done := make(chan outcome, 1)
			go func() { done <- serve(c, m) }()
			// Everything fits the listener's socket buffer, 208 KiB, so nothing is lost on a busy machine:
			// the kernel accounts 768 bytes for most datagrams, 2304 for a long one.
			const rate, limit = 1000, 200
			f, err := New(Config{Flow: traffic.Flow{Destination: c.LocalAddr().(*net.UDPAddr).AddrPort()}, Mix: m, Pace: traffic.Pace{Rate: rate, Limit: limit}})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Close()
			o, got := <-done, f.Counts()
			if got.Sent != limit || got.Unsent != 0 || float64(got.Sent) > rate*got.Elapsed.Seconds()+1 {
				t.Errorf("sent %d, and %d not, in %v, want %d in all and up to %d per second", got.Sent, got.Unsent, got.Elapsed, limit, rate)
			}
			sum := 0
			for _, item := range m {
				sum += o.seen[item.Name]
				if o.seen[item.Name] == 0 {
					t.Errorf("no %s arrived", item.Name)
				}
			}
			if firsts := o.seen["large"] - o.later; firsts < o.later || firsts > o.later+1 { // the last may have been cut off
				t.Errorf("%d first fragments and %d second ones", firsts, o.later)
			}
			if sum != limit || len(o.unexpected) != 0 || o.questions != got.Questions {
				t.Errorf("of %d, %d arrived, and %d that were not sent so; questions: %d sent, %d arrived", limit, sum, len(o.unexpected), got.Questions, o.questions)
			}
			if got.Wrong != o.bad || got.Right != o.answered-o.bad || o.answered == 0 {
				t.Errorf("%d answers right and %d wrong, want %d and %d", got.Right, got.Wrong, o.answered-o.bad, o.bad)
			}
			if len(o.ports) < least.ports || len(o.sources) < least.sources {
				t.Errorf("they came from %d addresses and %d ports, want %+v", len(o.sources), len(o.ports), least)
			}
		})
	}
}

// The sources are those asked for.
func TestSources(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan outcome, 1)
	go func() { done <- serve(c, Marked()) }()
	flow := traffic.Flow{
		Destination: c.LocalAddr().(*net.UDPAddr).AddrPort(), Sources: netip.MustParsePrefix("127.7.7.0/30"),
		Ports: traffic.Ports{First: 20011, Last: 20013},
	}
	f, err := New(Config{Flow: flow, Pace: traffic.Pace{Limit: 100}, Batch: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	c.Close()
	o := <-done
	if sent := f.Counts().Sent; sent != 100 {
		t.Errorf("sent %d", sent)
	}
	if len(o.sources) != 4 || len(o.ports) != 3 || len(o.unexpected) != 0 {
		t.Errorf("%v, %v, %d unexpected ones", o.sources, o.ports, len(o.unexpected))
	}
	for a := range o.sources {
		if !flow.Sources.Contains(a) {
			t.Errorf("from %v", a)
		}
	}
}

func TestRefused(t *testing.T) {
	to := func(a, sources string, p traffic.Ports) traffic.Flow {
		f := traffic.Flow{Destination: netip.MustParseAddrPort(a), Ports: p}
		if sources != "" {
			f.Sources = netip.MustParsePrefix(sources)
		}
		return f
	}
	for name, c := range map[string]Config{
		"elsewhere":          {Flow: to("192.0.2.1:4433", "", traffic.Ports{})},
		"elsewhere, IPv6":    {Flow: to("[2001:db8::1]:4433", "", traffic.Ports{})},
		"no port":            {Flow: to("127.0.0.1:0", "", traffic.Ports{})},
		"any":                {Flow: to("0.0.0.0:4433", "", traffic.Ports{})},
		"forged":             {Flow: to("127.0.0.1:4433", "198.18.0.0/15", traffic.Ports{})},
		"partly forged":      {Flow: to("127.0.0.1:4433", "126.0.0.0/7", traffic.Ports{})},
		"other family":       {Flow: to("127.0.0.1:4433", "::1/128", traffic.Ports{})},
		"too many ports":     {Flow: to("127.0.0.1:4433", "", traffic.Ports{First: 1024, Last: 2048})},
		"ports in disorder":  {Flow: to("127.0.0.1:4433", "", traffic.Ports{First: 1024, Last: 1000})},
		"batch":              {Flow: to("127.0.0.1:4433", "", traffic.Ports{}), Batch: MaxBatch + 1},
		"no mix":             {Flow: to("127.0.0.1:4433", "", traffic.Ports{}), Mix: traffic.Mix{}},
		"not on an Ethernet": {Flow: traffic.Flow{Interface: new(net.Interface), Destination: netip.MustParseAddrPort("127.0.0.1:4433")}},
	} {
		if f, err := New(c); err == nil {
			f.Close()
			t.Errorf("%s: a flood of %+v was accepted", name, c.Flow)
		}
	}
}
