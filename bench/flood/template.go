package flood

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

// Marker is in every datagram of a flood: in a ClientHello it is the session_id. It is how a flood's datagram
// is known where none should be.
const Marker = "dtlsguard flood!"

// Kind is a kind of datagram that a flood has.
type Kind uint8

// The kinds.
const (
	// FirstHello is a ClientHello of a real client, OpenSSL's, with a fresh random: to be answered with a
	// HelloVerifyRequest.
	FirstHello Kind = iota
	// WrongCookie is the same with a cookie that nobody issued, and message_seq 1: to be answered like the
	// first, since to the guard it is a client whose cookie has expired.
	WrongCookie
	// Junk is random bytes: to be dropped.
	Junk
	kindLen
)

// Positions in a datagram that begins with a ClientHello (RFC 6347 section 4).
const (
	rseqAt        = 5 // six bytes
	recordLenAt   = 11
	recordHeader  = 13
	messageTypeAt = recordHeader
	messageLenAt  = recordHeader + 1
	mseqAt        = recordHeader + 4
	offsetAt      = recordHeader + 6
	fragmentLenAt = recordHeader + 9
	bodyAt        = recordHeader + 12
	randomAt      = bodyAt + 2
	sessionIDAt   = randomAt + 32
)

// wrongCookie is as long as OpenSSL's own cookies in s_server.
const wrongCookie = 20

// template returns a datagram of kind k; what must vary from one to the next is for the sender to fill in.
func template(k Kind) []byte {
	var captured []byte
	for _, c := range hellotest.Captured() {
		if strings.HasPrefix(c.Name, "openssl-dtls12:") {
			captured = c.Datagram
			break
		}
	}
	rest := captured[sessionIDAt+2:] // behind an empty session_id and an empty cookie
	d := append([]byte(nil), captured[:sessionIDAt]...)
	d = append(d, byte(len(Marker)))
	d = append(d, Marker...)
	if k == WrongCookie {
		d[mseqAt+1] = 1
		d = append(d, wrongCookie)
		for range wrongCookie {
			d = append(d, byte(rand.Uint32()))
		}
	} else {
		d = append(d, 0)
	}
	d = append(d, rest...)
	binary.BigEndian.PutUint16(d[recordLenAt:], uint16(len(d)-recordHeader))
	binary.BigEndian.PutUint16(d[messageLenAt+1:], uint16(len(d)-bodyAt))
	binary.BigEndian.PutUint16(d[fragmentLenAt+1:], uint16(len(d)-bodyAt))
	return d
}
