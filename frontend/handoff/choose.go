package handoff

import (
	"fmt"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// choose picks the mode: the one asked for if it fits, or with Auto the best that fits. ring has the secrets that the
// guard shares with the server; nil: none. The error is a *Misfit.
func (p *Profile) choose(asked Mode, ring *cookie.Keyring) (Mode, error) {
	switch {
	case asked.Passes():
		return asked, nil
	case asked == Auto:
		return p.mode(), nil
	case p.DTLS13 && asked == NativeWolfSSL && p.Retries != nil && p.recognises():
		return asked, nil
	case p.DTLS13 && asked == NativeWolfSSL:
		return Auto, &Misfit{"the cookies of its HelloRetryRequests are not what wolfSSL computes with the first secret of setting secret-file",
			"call wolfSSL_send_hrr_cookie, and for DTLS 1.2 wolfSSL_DTLS_SetCookieSecret, with the 32 bytes of the file's first line, or use setting handoff auto"}
	case p.DTLS13:
		return Auto, &Misfit{"it negotiates DTLS 1.3, where a HelloVerifyRequest has no place and a server must abort on its cookie (RFC 9147 section 5.3)",
			"use setting handoff reset, or limit it to DTLS 1.2"}
	case asked == Harvest && p.unharvestable() != "":
		return Auto, &Misfit{p.unharvestable(), "use setting handoff auto, which says what fits"}
	case asked.Native() && ring != nil && !p.Trusts:
		return asked, p.explained(asked, ring)
	}
	return asked, nil
}

// explained returns nil if a native mode computes the server's cookies.
func (p *Profile) explained(asked Mode, ring *cookie.Keyring) error {
	n, first := p.Native, ring.Current().Fingerprint()
	switch {
	case !p.AsksCookie:
		return &Misfit{"it starts a handshake without asking for a cookie", "switch its cookie exchange on, or use setting handoff auto"}
	case n == nil:
		return &Misfit{
			fmt.Sprintf("its %d-byte cookie is not what %v computes for the address that asked it, with any secret of setting secret-file (fingerprint of the first: %s)", p.CookieLength, asked, first),
			"give the server the 32 bytes of the file's first line as its key, and see that it sees the guard's own address, or use setting handoff auto",
		}
	case n.Second:
		return &Misfit{
			fmt.Sprintf("its cookies are those of %v with the second secret of setting secret-file (fingerprint %s), and the guard issues with the first (%s)", n.Mode, n.Secret, first),
			"give the server the first as its key, or write the server's secret above it",
		}
	case n.Mode != asked:
		return &Misfit{fmt.Sprintf("its cookies are not those of %v but of %v", asked, n.Mode), fmt.Sprintf("use setting handoff %v", n.Mode)}
	}
	return nil
}
