package handoff

import (
	"crypto/subtle"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Recognised is a native mode that explains a server's cookie.
type Recognised struct {
	Kind   Kind   `json:"handoff"`
	Mapped bool   `json:"v4_mapped"`   // over the v4-mapped form of an IPv4 client's address
	Secret string `json:"fingerprint"` // of the secret
	Second bool   `json:"second"`      // that is the second one of the file
}

// recognise looks for the native mode whose formula gives the cookie that a server gave to asker for a ClientHello; nil if
// there is none.
func recognise(ring *cookie.Keyring, server, asker netip.AddrPort, asked, given []byte) *Recognised {
	var h Hello
	if ring == nil || hello.Parse(asked, &h.ClientHello) != hello.OK {
		return nil
	}
	forms := []bool{false}
	if asker.Addr().Is4() {
		forms = append(forms, true)
	}
	for _, mapped := range forms {
		q := []question{{Hello: &h, seen: udpbatch.Endpoint{IP: asker.Addr().As16(), Port: asker.Port()}, mapped: mapped}}
		for _, k := range []*cookie.Key{ring.Current(), ring.Previous()} {
			for kind := range kindLen {
				if k == nil || !kind.Native() {
					continue
				}
				newFormula(kind, server, cookie.Measured(), len(q)).compute(k, q)
				if kind.same(q[0].cookie[:q[0].length], given) {
					return &Recognised{kind, mapped, k.Fingerprint(), k == ring.Previous()}
				}
			}
		}
	}
	return nil
}

// same compares a computed cookie with a server's. Byte 0 of format v1 tells the guard's secrets apart, and servers may
// put there what they like.
func (k Kind) same(computed, given []byte) bool {
	if k == NativeHMAC && len(computed) > 0 && len(given) > 0 {
		computed, given = computed[1:], given[1:]
	}
	return len(computed) > 0 && subtle.ConstantTimeCompare(computed, given) == 1
}
