package hello_test

import (
	"bytes"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

func TestOffer(t *testing.T) {
	b := hellotest.New()
	b.SessionID, b.Cookie = []byte("session"), []byte("cookie")
	b.Tail = []byte{0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 2, 1, 0, 0, 4, 0, 23, 0, 0}
	whole := b.Bytes()
	const methodsEnd = 25 + 2 + 32 + 8 + 7 + 9 // of the datagram
	for n := 1; n <= len(whole)-25; n++ {
		b.FragmentLength = n
		var h hello.ClientHello
		if hello.Parse(b.Bytes(), &h) != hello.OK {
			continue // the cookie is not in it
		}
		session, suites, methods, ok := h.Offer()
		if want := 25+n >= methodsEnd; ok != want {
			t.Errorf("first fragment of %d bytes: %v, want %v", n, ok, want)
		}
		if ok && (string(session) != "session" || !bytes.Equal(suites, b.Tail[2:6]) || !bytes.Equal(methods, []byte{1, 0})) {
			t.Errorf("first fragment of %d bytes: %q %x %x", n, session, suites, methods)
		}
	}
}

// Whatever Parse lets through can be asked for its offer.
func TestOfferOfAll(t *testing.T) {
	whole := 0
	for _, c := range append(hellotest.Captured(), hellotest.Cases()...) {
		var h hello.ClientHello
		if hello.Parse(c.Datagram, &h) != hello.OK {
			continue
		}
		if _, _, _, ok := h.Offer(); ok {
			whole++
		}
	}
	if whole < 10 {
		t.Errorf("%d ClientHellos have all of it in their first datagram", whole)
	}
}
