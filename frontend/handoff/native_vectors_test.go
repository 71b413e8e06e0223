package handoff

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// vectors has cookies of real servers, one per line: mode, library, whether the server's socket is of IPv6 and sees
// IPv4 v4-mapped, the sender, the ClientHello, the cookie. All are under the secret of vectorSecret. test/libraries writes them.
var vectors = filepath.Join("testdata", "native.txt")

const vectorSecret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// TestNativeFormulas computes the cookies that real servers gave.
func TestNativeFormulas(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(vectors)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[Mode]int)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var name, lib, from, datagram, want string
		var mapped bool
		if _, err := fmt.Sscan(line, &name, &lib, &mapped, &from, &datagram, &want); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		kind, err := ParseMode(name)
		if err != nil {
			t.Fatal(err)
		}
		d, err := hex.DecodeString(datagram)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(computed(t, kind, mapped, netip.MustParseAddrPort(from), d)); got != want {
			t.Errorf("%s, %s, mapped %v, from %s: %s, want %s", name, lib, mapped, from, got, want)
		}
		seen[kind]++
	}
	for _, m := range []Mode{NativeQt, NativeWolfSSL, NativeGnuTLS} {
		if seen[m] < 8 {
			t.Errorf("%d vectors for %v", seen[m], m)
		}
	}
}

// computed is the cookie for datagram d.
func computed(t *testing.T, kind Mode, mapped bool, from netip.AddrPort, d []byte) []byte {
	t.Helper()
	secret, err := cookie.ParseSecret(vectorSecret)
	if err != nil {
		t.Fatal(err)
	}
	var h Hello
	if r := hello.Parse(d, &h.ClientHello); r != hello.OK {
		t.Fatalf("%x: %v", d, r)
	}
	q := []question{{Hello: &h, seen: udpbatch.Endpoint{IP: from.Addr().As16(), Port: from.Port()}, mapped: mapped}}
	newFormula(kind, netip.AddrPort{}, cookie.Measured(), 1).compute(cookie.NewKeyring(secret, 0).Current(), q)
	return q[0].cookie[:q[0].length]
}
