package handoff

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// offerPSK is what a client offers that has a key of this identity.
func offerPSK(identity string) *hello.Extensions {
	psk := []byte{0, byte(2 + len(identity) + 4), 0, byte(len(identity))}
	psk = append(append(psk, identity...), 0, 0, 0, 0)
	return &hello.Extensions{Suites: []byte{0x13, 0x02, 0x13, 0x01, 0xc0, 0x2c}, PSK: psk}
}

func TestPSKSuites(t *testing.T) {
	p, r := NewPSKSuites(0), &Retries{Suites: []uint16{0x1302, 0x1301, 0x1303}}
	of := func(identity string) uint16 { return p.suite(r, offerPSK(identity), 0x1302) }
	if of("sensor") != 0x1302 || len(p.questions) != 1 {
		t.Fatal("an unknown identity has no suite of its own, or the server is not to be asked about it")
	}
	q := <-p.questions
	if string(q.identity[:q.length]) != "sensor" || q.suites != [8]uint16{0x1302, 0x1301} || p.known(&q) {
		t.Fatalf("question %+v", q)
	}
	p.learn(&q, 0x1301)
	if of("sensor") != 0x1301 || len(p.questions) != 0 || !p.known(&q) {
		t.Error("what was learned is not kept to")
	}
	if p.suite(r, &hello.Extensions{Suites: []byte{0x13, 0x02}, PSK: offerPSK("sensor").PSK}, 0x1302) != 0x1302 {
		t.Error("another offer has the same suite")
	}
	<-p.questions
	// Who floods it with identities does not push out one that is used, nor one that needs its place.
	for i := range 3 * maxIdentities {
		if i%10 == 0 && of("sensor") != 0x1301 {
			t.Fatal("an identity in use was forgotten")
		}
		of(fmt.Sprint("forged ", i))
		q := <-p.questions
		p.learn(&q, q.table)
	}
	if n := len(*p.list.Load()); n != maxIdentities {
		t.Errorf("%d identities", n)
	}
	for i := range 100 { // nobody takes them away
		of(fmt.Sprint("more ", i))
	}
	if of(string(make([]byte, maxIdentity+1))) != 0x1302 || len(p.questions) != cap(p.questions) {
		t.Error("a ticket is asked about")
	}
	if p.Forget(); of("sensor") != 0x1302 {
		t.Error("forgotten, and still known")
	}
	p = NewPSKSuites(0x1301)
	if of("sensor") != 0x1301 || len(p.questions) != 0 {
		t.Error("one suite for all is not kept to")
	}
	x := offerPSK("sensor")
	if p = NewPSKSuites(0); testing.AllocsPerRun(100, func() { p.suite(r, x, 0x1302) }) != 0 {
		t.Error("it allocates")
	}
}

// retryWith is a HelloRetryRequest with this suite.
func retryWith(suite uint16) []byte {
	d := append((&hello.Probe13{Suites: []uint16{suite}, Groups: groups13}).Append(nil), make([]byte, 100)...)
	return d[:hello.PutRetry(d, &hello.Retry{Suite: suite, Cookie: make([]byte, 20)})]
}

// askingServer runs answer for each question that a server is asked about pre-shared keys, and returns what is learned.
func askingServer(t *testing.T, answer func(c net.PacketConn, question []byte, from net.Addr)) (suite func(identity string) uint16) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		for b := make([]byte, 2048); ; {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			answer(c, b[:n], from)
		}
	}()
	p, r := NewPSKSuites(0), &Retries{Suites: []uint16{0x1301, 0x1302}}
	go func() { _ = p.Run(t.Context(), netip.MustParseAddrPort(c.LocalAddr().String())) }()
	return func(identity string) uint16 { return p.suite(r, offerPSK(identity), 0x1301) }
}

func becomes(t *testing.T, suite func(string) uint16, identity string, want uint16) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); suite(identity) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s has suite %#x, want %#x", identity, suite(identity), want)
		}
	}
}

// A server that is busy when it is asked about an identity is asked again.
func TestSilenceTeachesNothing(t *testing.T) {
	asked := 0
	suite := askingServer(t, func(c net.PacketConn, _ []byte, from net.Addr) {
		if asked++; asked > 2 {
			_, _ = c.WriteTo(retryWith(0x1302), from)
		}
	})
	becomes(t, suite, "sensor", 0x1302)
}

// A late answer about one identity is not taken for that about the next.
func TestLateAnswerAboutAKey(t *testing.T) {
	var first net.Addr
	suite := askingServer(t, func(c net.PacketConn, question []byte, from net.Addr) {
		if bytes.Contains(question, []byte("first")) {
			first = from
			return
		}
		_, _ = c.WriteTo(retryWith(0x1301), first)
		_, _ = c.WriteTo(retryWith(0x1302), from)
	})
	suite("first")
	becomes(t, suite, "second", 0x1302)
}

func TestSuiteNames(t *testing.T) {
	for _, name := range append(SuiteNames(), "") {
		if s, err := ParseSuite(name); err != nil || s.String() != name {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
	if _, err := ParseSuite("1301"); err == nil {
		t.Error("a number is a name")
	}
}

// What status --json prints is read by status and top.
func TestModeIsReadBack(t *testing.T) {
	text, err := json.Marshal(Recognised{Mode: NativeWolfSSL})
	var r Recognised
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.Mode != NativeWolfSSL {
		t.Errorf("%s: %v, %v", text, r, err)
	}
}
