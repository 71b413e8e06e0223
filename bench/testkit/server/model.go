package server

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Model is a DTLS server and the network in front of it, without sockets: it computes what comes back, and when. With a
// virtual clock a thousand probes of it take no time. Its fields must not change while it is in use. Not safe for
// concurrent use.
type Model struct {
	Name string

	ByPort, ByAddress, ByHello bool          // what its cookies depend on
	Tick                       time.Duration // ... and on a clock of this grain; 0: on none
	Takes                      int           // how many ticks old a cookie may be
	Length                     int           // of its cookies; 0: 20
	Trusting                   bool          // accepts any cookie
	Counts                     bool          // keeps state per address from its first ClientHello until an alert
	NoCookies                  bool          // accepts a ClientHello without a cookie
	Once                       bool          // accepts no ClientHello after the second
	Silent                     bool          // does not answer a wrong cookie
	Suites                     []uint16      // that it supports; nil: all
	Groups                     []uint16      // the same
	Only                       netip.Addr    // answers only this address; invalid: all
	OneAtATime                 bool          // answers nobody else during a handshake
	DTLS13                     bool

	RTT      time.Duration // round-trip time
	Jitter   time.Duration // in addition, at most
	Loss     float64       // of datagrams in either direction
	Restarts time.Duration // restarts after it; 0: never
	Down     time.Duration // ... and is down for this time

	Random *rand.Rand
	Begin  time.Time // of its uptime, by the virtual clock

	clients map[netip.AddrPort]*client
	busy    netip.AddrPort // whose handshake is in progress
	life    int
}

// client is the state that the model keeps of an address.
type client struct {
	asked   bool
	shaking bool
	message uint16
}

// Delivery is a datagram that arrives at a client.
type Delivery struct {
	At   time.Time
	Data []byte
}

// Fatal alerts of a server that has no suite or group in common with its client (RFC 5246 section 7.2.2).
const handshakeFailure = 40

// repeatAfter are the timeouts after which a server retransmits its flight (RFC 6347 section 4.2.4.1).
var repeatAfter = [...]time.Duration{0, time.Second, 3 * time.Second}

// Send sends a datagram from a client to the server, and returns what comes back, in no order.
func (m *Model) Send(from netip.AddrPort, d []byte, now time.Time) (list []Delivery) {
	if m.Random.Float64() < m.Loss {
		return nil
	}
	there := now.Add(m.RTT / 2)
	answer, repeated := m.answer(from, d, there)
	if answer == nil {
		return nil
	}
	for i, after := range repeatAfter {
		if i > 0 && !repeated {
			break
		}
		if m.Random.Float64() >= m.Loss {
			at := there.Add(after + m.RTT/2)
			if m.Jitter > 0 {
				at = at.Add(time.Duration(m.Random.Int64N(int64(m.Jitter))))
			}
			list = append(list, Delivery{at, answer})
		}
	}
	return list
}

// answer returns the server's answer to a datagram, and whether it is a flight, which is retransmitted.
func (m *Model) answer(from netip.AddrPort, d []byte, now time.Time) (answer []byte, flight bool) {
	m.live(now)
	if m.deafTo(from, now) {
		return nil, false
	}
	c := m.clients[from]
	if c == nil {
		c = new(client)
		m.clients[from] = c
	}
	if hello.IsAlert(d) {
		delete(m.clients, from)
		if m.busy == from {
			m.busy = netip.AddrPort{}
		}
		return nil, false
	}
	var h hello.ClientHello
	if hello.Parse(d, &h) != hello.OK || c.shaking {
		return nil, false // a retransmission; the server's own timer runs
	}
	s := hello.SequenceOf(d)
	if m.DTLS13 && bytes.Contains(d, []byte{0, 43, 0, 5, 4, 0xfe, 0xfc}) {
		return helloRetryRequest, false
	}
	first := len(h.Cookie) == 0
	if m.Once && s.Message > 1 || m.Counts && first == c.asked {
		return nil, false
	}
	switch needed := !m.NoCookies && (first || !m.Trusting && !m.takes(from, &h, now)); {
	case needed && m.Counts && !first:
		return alert(handshakeFailure), false // OpenSSL's SSL_accept: cookie mismatch
	case needed && m.Silent && !first:
		return nil, false
	case needed:
		c.asked = true
		return m.verify(from, &h, d, now), false
	}
	if !m.common(&h) {
		return alert(handshakeFailure), false
	}
	c.shaking, c.message = true, s.Message
	m.busy = from
	hello := []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 12, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	hello[18] = byte(s.Message)
	return hello, true
}

// deafTo reports whether the server ignores a client: it is down, or busy with another one.
func (m *Model) deafTo(from netip.AddrPort, now time.Time) bool {
	since := now.Sub(m.Begin)
	switch {
	case m.Restarts > 0 && since >= m.Restarts && since < m.Restarts+m.Down:
		return true
	case m.Only.IsValid() && from.Addr() != m.Only:
		return true
	}
	return m.OneAtATime && m.busy.IsValid() && m.busy != from
}

// live restarts the server when that is due.
func (m *Model) live(now time.Time) {
	life := 0
	if m.Restarts > 0 && now.Sub(m.Begin) >= m.Restarts {
		life = 1
	}
	if m.clients == nil || life != m.life {
		m.clients, m.busy, m.life = make(map[netip.AddrPort]*client), netip.AddrPort{}, life
	}
}

// cookie is the cookie of a ClientHello at a tick.
func (m *Model) cookie(from netip.AddrPort, h *hello.ClientHello, tick int64) []byte {
	mac := hmac.New(sha256.New, []byte{byte(m.life)})
	if m.ByAddress {
		fmt.Fprint(mac, from.Addr())
	}
	if m.ByPort {
		fmt.Fprint(mac, ":", from.Port())
	}
	if m.ByHello {
		mac.Write(h.Random[:])
	}
	fmt.Fprint(mac, "@", tick)
	return bytes.Repeat(mac.Sum(nil), 8)[:cmp.Or(m.Length, 20)]
}

func (m *Model) tick(now time.Time) int64 {
	if m.Tick == 0 {
		return 0
	}
	return int64(now.Sub(m.Begin) / m.Tick)
}

func (m *Model) takes(from netip.AddrPort, h *hello.ClientHello, now time.Time) bool {
	for age := range int64(m.Takes) + 1 {
		if bytes.Equal(h.Cookie, m.cookie(from, h, m.tick(now)-age)) {
			return true
		}
	}
	return false
}

// verify builds the HelloVerifyRequest for datagram d.
func (m *Model) verify(from netip.AddrPort, h *hello.ClientHello, d []byte, now time.Time) []byte {
	a := helloVerify(d, m.cookie(from, h, m.tick(now)))
	copy(a[17:19], d[17:19]) // message_seq
	return a
}

// common reports whether client and server share a suite and a group.
func (m *Model) common(h *hello.ClientHello) bool {
	_, suites, _, ok := h.Offer()
	if !ok {
		return false
	}
	has := m.Suites == nil
	for i := 0; i+1 < len(suites); i += 2 {
		has = has || slices.Contains(m.Suites, binary.BigEndian.Uint16(suites[i:]))
	}
	var x hello.Extensions
	if m.Groups == nil || !has {
		return has
	}
	return h.ReadExtensions(&x) && slices.ContainsFunc(m.Groups, func(g uint16) bool { return hello.Lists(x.Groups, g) })
}

func alert(description byte) []byte {
	return []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, description}
}
