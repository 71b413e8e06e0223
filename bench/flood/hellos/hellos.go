// Package hellos holds captured first datagrams of real DTLS clients, which dtlsflood sends and tests parse.
package hellos

import (
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// captured has first datagrams of real clients, one per line in hex, retransmissions included: openssl s_client 3.0
// (openssl-large: with ALPN names as long as a post-quantum key share, two fragments), gnutls-cli 3.7 (one datagram, and
// --mtu 200: two fragments), coap-client 4.3 (OpenSSL, GnuTLS), Mbed TLS 2.28, Pion 3.1, BoringSSL of August 2026
// (a0689af, a client of DTLS 1.3 and 1.2 with a key share of X25519MLKEM768, two fragments).
//
//go:embed captured/*.hex
var captured embed.FS

// Hello is a captured datagram. Its name is the client and the number of the datagram, from 1: "gnutls:1".
type Hello struct {
	Name     string
	Datagram []byte
}

// All returns the captured datagrams. It panics if the embedded files are damaged.
func All() (all []Hello) {
	files, err := fs.Glob(captured, "captured/*.hex")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		text, err := captured.ReadFile(f)
		if err != nil {
			panic(err)
		}
		for i, line := range strings.Fields(string(text)) {
			d, err := hex.DecodeString(line)
			if err != nil {
				panic(fmt.Sprintf("%s line %d: %v", f, i+1, err))
			}
			all = append(all, Hello{fmt.Sprintf("%s:%d", strings.TrimSuffix(strings.TrimPrefix(f, "captured/"), ".hex"), i+1), d})
		}
	}
	return all
}
