package bpf

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

// Bytes are counted beside packets: what came, and what the kernel answered.
func TestBytes(t *testing.T) {
	reset12, retry := inline(), inline()
	reset12.Admission = Admission{Reset: true, DTLS12: true}
	retry.Admission = Admission{Reset: true, DTLS13: true}
	for name, c := range map[string]struct {
		service Service
		packet  *packet
		verdict Verdict
	}{
		"HelloVerifyRequest": {inline(), newPacket(firstHello), Answered},
		"... over IPv6":      {inline(), newPacket6(firstHello), Answered},
		"HelloRetryRequest":  {retry, newPacket(hellotest.Retries()[0].Hello), Answered},
		"alert":              {reset12, verifiedFrom(client4), Reset},
		"dropped":            {inline(), newPacket(malformed), DropMalformed},
		"verified":           {inline(), verifiedFrom(client4), PassVerified},
		"to no service":      {inline(), with(newPacket(malformed), func(p *packet) { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 53) }), PassUnprotected},
		"padded by Ethernet": {inline(), with(newPacket(appData[:12]), func(p *packet) { p.Padding = 20 }), DropMalformed},
		"lengths that lie":   {inline(), with(newPacket(malformed), func(p *packet) { p.UDPLen = 2000 }), DropBadIP},
		"no UDP":             {inline(), with(newPacket(malformed), func(p *packet) { p.Protocol = 6 }), PassUnprotected},
	} {
		g := guarding(t, c.service)
		_, out := run(t, g, c.packet.bytes())
		now := counters(t, g)
		want := uint64(len(c.packet.Payload))
		if c.packet.Protocol == 6 || c.packet.UDPLen > 0 {
			want = 0
		}
		if now.Verdict[c.verdict] != 1 || now.Bytes[c.verdict] != want {
			t.Errorf("%s: %s, %d bytes; want %v, %d bytes", name, moved(t, g, Counters{}), now.Bytes[c.verdict], c.verdict, want)
		}
		var answer uint64
		if c.verdict == Answered || c.verdict == Reset {
			_, _, d := udpOf(t, out, 0)
			answer = uint64(len(d))
		}
		if now.AnswerBytes != answer {
			t.Errorf("%s: answers of %d bytes, want %d", name, now.AnswerBytes, answer)
		}
	}
	g := guarding(t, inline())
	send(t, g, back(newPacket(appData)))
	if got := counters(t, g).EgressBytes[EgressLearned]; got != uint64(len(appData)) {
		t.Errorf("egress: %d bytes, want %d", got, len(appData))
	}
}

// A handshake that the server ends with an alert has failed, once. One that goes on has not, and an alert to anybody else is of no
// handshake.
func TestRefusedHandshakes(t *testing.T) {
	const (
		plain, refused = "egress:plain", "egress:refused"
		timeout        = time.Hour // of limiting
	)
	warning, protected := slices.Clone(alert), slices.Clone(alert)
	warning[13], protected[4] = 1, 1
	one := ports("198.18.1.1")
	g := limiting(t, 4)
	sends := func(to netip.AddrPort, d []byte, want string) {
		t.Helper()
		before := counters(t, g)
		send(t, g, back(from(newPacket(d), to)))
		if got := moved(t, g, before); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	begins := func(client netip.AddrPort) {
		t.Helper()
		check(t, g, "begins", step{verifiedFrom(client), xdpPass, valid})
	}
	sends(one(0), alert, plain)
	begins(one(0))
	sends(one(0), warning, plain)
	sends(one(0), alert[:13], plain)
	sends(one(0), alert, refused)
	sends(one(0), alert, plain)
	begins(one(0))
	sends(one(0), alert, refused)
	begins(one(1))
	sends(one(1), protected, refused)
	begins(one(2))
	sends(one(2), appData, "egress:learned")
	sends(one(2), protected, plain)
	noError(t, g.AddHalfOpen(inline().ServiceKey, one(3)))
	sends(one(3), alert, refused)
	noError(t, g.AddHalfOpen(inline().ServiceKey, one(3)))
	sends(one(3), alert, refused)

	begins(one(4)) // and nobody answers
	for _, i := range []int{0, 1, 3, 4} {
		editHalfOpen(t, g, one(i), func(f *guardHalfOpenFlow) { f.Seen = monotonic() - uint64(timeout+time.Second) })
	}
	n := 0
	if _, err := g.TimedOut(monotonic()-uint64(time.Minute), func(ServiceKey) { n++ }); err != nil || n != 1 {
		t.Errorf("%d handshakes timed out, %v; want 1", n, err)
	}
}

// How long handshakes took is known within an eighth.
func TestHandshakeTimes(t *testing.T) {
	g := limiting(t, 64)
	client := ports("198.18.1.1")
	for i, took := range []time.Duration{0, 300 * time.Millisecond, time.Second, 3 * time.Second, 20 * time.Second, 29 * time.Second, time.Hour} {
		began := time.Now()
		check(t, g, "begins", step{verifiedFrom(client(i)), xdpPass, valid})
		editHalfOpen(t, g, client(i), func(f *guardHalfOpenFlow) { f.Born -= uint64(took) })
		before := counters(t, g)
		finishes(t, g, client(i))
		slack := time.Since(began)
		now, bucket, n := counters(t, g), 0, uint64(0)
		for b := range now.Handshakes {
			if d := now.Handshakes[b] - before.Handshakes[b]; d > 0 {
				bucket, n = b, n+d
			}
		}
		if n != 1 {
			t.Fatalf("%v: counted %d times", took, n)
		}
		took = min(took, 30*time.Second)
		if got := HandshakeTime(bucket); got < took-took/8-time.Millisecond || got > (took+slack)*9/8+time.Millisecond {
			t.Errorf("%v: bucket %d, of %v", took, bucket, got)
		}
	}
	for b := range HandshakeBuckets - 1 {
		if a, b := HandshakeTime(b), HandshakeTime(b+1); a >= b {
			t.Errorf("bucket of %v before that of %v", a, b)
		}
	}
}
