package hellotest

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"strings"
)

// retries has the answers of a wolfSSL 5.9.2 server with wolfSSL_send_hrr_cookie to first ClientHellos of DTLS 1.3.
//
//go:embed retry.txt
var retries string

// Retry is a first ClientHello of DTLS 1.3 and the HelloRetryRequest with which wolfSSL answered.
type Retry struct {
	Name     string
	Secret   []byte // 32 bytes, of the server's cookies
	Sockaddr []byte // of the client, as the server's recvfrom(2) returned it
	Hello    []byte // datagrams
	Answer   []byte
}

// Retries returns them. It panics if the embedded file is malformed.
func Retries() []Retry {
	var list []Retry
	for _, line := range strings.Split(retries, "\n") {
		key, value, _ := strings.Cut(line, " ")
		if key == "#" {
			list = append(list, Retry{Name: value})
			continue
		}
		if key == "" {
			continue
		}
		b, err := hex.DecodeString(strings.TrimSpace(value))
		if err != nil {
			panic(fmt.Sprintf("retry.txt: %s: %v", key, err))
		}
		r := &list[len(list)-1]
		*map[string]*[]byte{"secret": &r.Secret, "sockaddr": &r.Sockaddr, "CH1": &r.Hello, "HRR": &r.Answer}[key] = b
	}
	return list
}

// Extension is one extension of a ClientHello.
func Extension(kind uint16, contents ...byte) []byte {
	n := len(contents)
	return append([]byte{byte(kind >> 8), byte(kind), byte(n >> 8), byte(n)}, contents...)
}

// Tail13 is the rest of a ClientHello that offers DTLS 1.3 and 1.2, with more extensions after supported_versions.
func Tail13(extensions ...[]byte) []byte {
	b := Extension(43, 4, 0xfe, 0xfc, 0xfe, 0xfd)
	for _, e := range extensions {
		b = append(b, e...)
	}
	tail := []byte{0, 6, 0x13, 0x02, 0x13, 0x01, 0xc0, 0x2b, 1, 0, byte(len(b) >> 8), byte(len(b))}
	return append(tail, b...)
}

// Cookie13 is the extension cookie (RFC 8446 section 4.2.2).
func Cookie13(cookie ...byte) []byte {
	n := len(cookie)
	return Extension(44, append([]byte{byte(n >> 8), byte(n)}, cookie...)...)
}
