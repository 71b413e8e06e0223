package bpf

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
)

// qtCookie is Qt's formula.
func qtCookie(secret cookie.Secret, src netip.AddrPort) (c [cookie.Size]byte) {
	address := src.Addr().AsSlice()
	if src.Addr().Is4() {
		slices.Reverse(address)
	}
	mac := hmac.New(sha256.New, secret[:])
	mac.Write(binary.LittleEndian.AppendUint16(nil, src.Port()))
	mac.Write(address)
	mac.Sum(c[:0])
	return c
}

// formulaQt knows the secrets of the differential test by their keys.
var formulaQt = formula{FormatQt, qtIssue, cookie.Size, func(ring *cookie.Keyring, b *cookie.Binding, c []byte) CookieState {
	for _, k := range []*cookie.Key{ring.Current(), ring.Previous()} {
		if bytes.Equal(qtIssue(k, b), c) {
			return CookieValid
		}
	}
	return CookieWrong
}}

func qtIssue(k *cookie.Key, b *cookie.Binding) []byte {
	for _, s := range []cookie.Secret{testSecret, otherSecret, straySecret} {
		if s.Fingerprint() == k.Fingerprint() {
			c := qtCookie(s, netip.AddrPortFrom(netip.AddrFrom16(b.Source).Unmap(), b.SourcePort))
			return c[:]
		}
	}
	panic("a secret of no test")
}

// The kernel issues and accepts the cookies that Qt issued.
func TestQtGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/qtcookies.txt")
	if err != nil {
		t.Fatal(err)
	}
	var secret cookie.Secret
	for i := range secret {
		secret[i] = byte(i)
	}
	ring := cookie.NewKeyring(secret, 9)
	s := inline()
	s.Format = FormatQt
	g := guarding(t, s)
	if err := g.SetSecret(ring.Current(), nil); err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if f[0] == "#" {
			continue
		}
		n++
		want, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		p := newPacket(firstHello)
		p.Src = netip.MustParseAddrPort(net.JoinHostPort(f[0], f[1]))
		if p.Src.Addr().Is6() {
			p.Dst = server6
		}
		if got := qtCookie(secret, p.Src); !bytes.Equal(got[:], want) {
			t.Errorf("%v: the test's own formula gives %x, Qt gave %x", p.Src, got, want)
		}
		if !p.Src.Addr().IsLoopback() { // nobody to be answered on a wire
			action, out := run(t, g, p.bytes())
			if _, _, d := udpOf(t, out, 0); action != xdpTx || !bytes.Equal(d[28:], want) {
				t.Errorf("%v: action %d, answer %x, want cookie %x", p.Src, action, d, want)
			}
		}
		b := hellotest.New()
		b.Cookie, b.MessageSeq = want, 1
		p.Payload = b.Bytes()
		check(t, g, line, step{p, xdpPass, valid})
	}
	if n == 0 {
		t.Error("no cookies in testdata")
	}
}

// A cookie is valid after one rotation, and invalid after two.
func TestQtRotation(t *testing.T) {
	s := inline()
	s.Format = FormatQt
	g := guarding(t, s)
	b := hellotest.New()
	c := qtCookie(testSecret, client4)
	b.Cookie, b.MessageSeq = c[:], 1
	p := newPacket(b.Bytes())
	answer := func(when string, payload []byte, secret cookie.Secret) {
		t.Helper()
		q := newPacket(payload)
		action, out := run(t, g, q.bytes())
		want := qtCookie(secret, q.Src)
		if _, _, d := udpOf(t, out, 0); action != xdpTx || !bytes.Equal(d[28:], want[:]) {
			t.Errorf("%s: action %d, answer %x, want cookie %x", when, action, d, want)
		}
	}
	ring := testRing
	for i, secret := range []cookie.Secret{otherSecret, straySecret} {
		var err error
		if ring, err = ring.Next(secret, byte(i)); err != nil {
			t.Fatal(err)
		}
		if err := g.SetSecret(ring.Current(), ring.Previous()); err != nil {
			t.Fatal(err)
		}
		answer("first hello", firstHello, secret)
		answer("wrong cookie", flip(p.Payload, 92), secret)
		if i == 0 {
			check(t, g, "after one rotation", step{p, xdpPass, valid})
		} else {
			answer("after two rotations", p.Payload, secret)
		}
	}
	b.Cookie = b.Cookie[:31]
	check(t, g, "31 bytes", step{with(newPacket(b.Bytes()), func(p *packet) { p.Src = netip.AddrPortFrom(p.Src.Addr(), 0) }), xdpDrop, "drop-bad-source reason:hello cookie:foreign"})
}
