package handoff

import (
	"crypto/rand"
	"crypto/subtle"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Recognised is a native mode that explains a server's cookie.
type Recognised struct {
	Mode   Mode   `json:"handoff"`
	Mapped bool   `json:"v4_mapped"`   // over the v4-mapped form of an IPv4 client's address
	Secret string `json:"fingerprint"` // of the secret
	Second bool   `json:"second"`      // that is the second one of the file
}

// recognise finds the native mode whose formula gives the cookie that a server issued to asker for a ClientHello; nil if
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
			for kind := range modeLen {
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

// same compares a computed cookie with a server's. It ignores byte 0 of format v1, which names the guard's secrets:
// servers may set it as they like.
func (k Mode) same(computed, given []byte) bool {
	if k == NativeHMAC && len(computed) > 0 && len(given) > 0 {
		computed, given = computed[1:], given[1:]
	}
	return len(computed) > 0 && subtle.ConstantTimeCompare(computed, given) == 1
}

// own presents a format-v1 cookie: a server may verify our cookies without ever issuing them.
func (q *probing) own() error {
	t := &q.profile
	if q.ring == nil || !t.AsksCookie || t.Native != nil || t.Trusts {
		return nil
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	p := hello.Probe{Version: hello.DTLS12, MessageSeq: 1, RecordSeq: 1}
	_, _ = rand.Read(p.Random[:])
	k := q.ring.Current()
	b := cookie.Bind(c.Local(), q.server.Port(), p.Version, &p.Random)
	issued := k.Issue(&b)
	p.Cookie = issued[:]
	taken, err := q.accepts(c, p)
	if taken {
		t.Native = &Recognised{Mode: NativeHMAC, Secret: k.Fingerprint()}
	}
	q.abort(c)
	return err
}
