package handoff

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Profile is what probing found out about a server.
type Profile struct {
	AsksCookie   bool `json:"asks_cookie"`    // answers a first ClientHello with a HelloVerifyRequest
	Stateless    bool `json:"stateless"`      // ... each time: it remembers no client
	DropsOnAlert bool `json:"drops_on_alert"` // if not stateless: it forgets a client that aborts
	CookieLength int  `json:"cookie_length"`  // bytes
	Seq          int  `json:"hello_verify_message_seq"`

	Deterministic  bool  `json:"deterministic"`         // the same cookie for the same ClientHello at once
	TimeDependent  bool  `json:"time_dependent"`        // another one a second later
	OldTaken       bool  `json:"old_cookie_taken"`      // if timed: the one of a second ago still passes
	PerAddress     *bool `json:"per_address,omitempty"` // another for another address; known of servers on loopback
	OtherAddresses bool  `json:"other_addresses"`       // answers other addresses of loopback as well
	PerPort        bool  `json:"per_port"`              // another for another port
	PerHello       bool  `json:"per_hello"`             // another for another random, or another version and other suites

	Trusts       bool `json:"trusts"`        // takes any cookie, in the first ClientHello it sees
	Replays      bool `json:"replays"`       // takes any cookie, after a ClientHello without
	SecondVerify bool `json:"second_verify"` // answers a wrong cookie with its own, and takes that in message 2

	Native        *Recognised `json:"native,omitempty"` // what explains its cookies, if a secret is shared with it
	PerConnection bool        `json:"per_connection"`   // another cookie when others have asked meanwhile, of servers that remember clients
	Pending       bool        `json:"pending"`          // ... but takes the one that it gave from whom it still keeps, whatever the ClientHello

	Fragments  bool     `json:"fragments"`            // takes a ClientHello in two fragments
	Versions   []string `json:"versions"`             // of DTLS, that it answers a ClientHello of
	Negotiates string   `json:"negotiates,omitempty"` // the version that it chose, offered DTLS 1.2; not all servers get so far
	DTLS13     bool     `json:"dtls13"`               // negotiates DTLS 1.3
	Only13     bool     `json:"dtls13_only"`          // and nothing else
	Retries    *Retries `json:"retries,omitempty"`    // how it answers ClientHellos of DTLS 1.3, if Native explains those answers, too
}

// Misfit says why clients cannot be handed to a server, and how to fix that.
type Misfit struct{ Reason, Fix string }

func (m *Misfit) Error() string { return m.Reason }

// Hint is the fix, for package hint.
func (m *Misfit) Hint() string { return m.Fix }

// keepsSockets reports whether a pool towards the server needs permanent sockets: for cookies that expire, and for
// servers that keep state.
func (p *Profile) keepsSockets() bool { return p.ages() || !p.Stateless }

// several reports whether the server answers any loopback address.
func (p *Profile) several(server netip.Addr) bool { return loopback4(server) && p.OtherAddresses }

// counts reports whether the server accepts a client only after its first ClientHello, as OpenSSL's SSL_accept does, and
// must be told to forget peers that asked for a cookie.
func (p *Profile) counts() bool { return p.AsksCookie && !p.Stateless && !p.Pending }

// recognises reports whether the server's cookies are those of a native mode, under the secret with which the guard
// issues.
func (p *Profile) recognises() bool { return p.Native != nil && !p.Native.Second }

// ages reports whether cookies expire and must be requested again.
func (p *Profile) ages() bool { return p.TimeDependent && !p.Pending }

// trustFix is the fix for servers whose own cookies cannot be used. Pion, Erlang and JSSE have no such callback.
const trustFix = "if its program verifies cookies by a callback, as with OpenSSL, let that accept every cookie (reachable only through dtlsguard), and use setting handoff trust"

// mode picks the mode that fits.
func (p *Profile) mode() Mode {
	switch {
	case p.DTLS13 && p.Retries != nil && p.recognises():
		return NativeWolfSSL
	case p.DTLS13:
		return Reset
	case p.Trusts:
		return Trust
	case !p.AsksCookie:
		return Reset
	case p.recognises():
		return p.Native.Mode
	case p.Replays:
		return Replay
	case p.unharvestable() == "":
		return Harvest
	case p.SecondVerify:
		return DoubleHVR
	}
	return Reset
}

// serves returns the versions of clients that the server accepts.
func (p *Profile) serves() (v Versions) {
	if p.DTLS13 {
		v |= Serves13
	}
	if !p.Only13 {
		v |= Serves12
	}
	return v
}

// whyReset says why the server needs mode reset, in which clients prove their address by a first attempt that fails.
func (p *Profile) whyReset() string {
	const cost = "; clients prove their address with a first attempt that fails"
	switch {
	case p.DTLS13:
		return "the server negotiates DTLS 1.3, where no cookie but its own is right" + cost
	case !p.AsksCookie:
		return "the server starts a handshake without asking for a cookie, so it would reject a first ClientHello that carries one" + cost
	}
	why := p.unharvestable()
	if why == "" { // it is inline
		why = "its cookies are not the guard's, and XDP cannot harvest them where the server keeps its port"
	}
	return why + ", and it does not take a second cookie exchange" + cost + " (better: " + trustFix + ")"
}

// unharvestable says why the server's cookies cannot be harvested; "" if they can.
func (p *Profile) unharvestable() string {
	switch {
	case !p.AsksCookie:
		return "it starts a handshake without asking for a cookie"
	case p.CookieLength > hello.MaxCookie:
		return fmt.Sprintf("its cookies are %d bytes, more than the %d that dtlsguard keeps", p.CookieLength, hello.MaxCookie)
	case p.Pending:
		return ""
	case !p.Stateless && !p.DropsOnAlert:
		return "it keeps each address that asks for a cookie, even one that aborts"
	case !p.Deterministic:
		return "its cookies are new each time"
	case p.PerConnection:
		return "its cookies depend on the connection that a first ClientHello opens there, so another one than asked is refused"
	case p.PerHello:
		return "its cookies depend on more than the client's address, so they cannot be harvested"
	case !p.PerPort:
		return "its cookies do not depend on the client's port, so a harvested one would fit every client"
	case p.TimeDependent && !p.OldTaken:
		return "its cookies die within a second"
	}
	return ""
}

// whyHarvest says why the mode was chosen, like the functions after it.
func (p *Profile) whyHarvest() string {
	if p.Pending {
		return fmt.Sprintf("the server keeps whom it has given a cookie: so many unfinished handshakes as the pool has sockets, which may be %d", pendingMost)
	}
	why := fmt.Sprintf("the server's %d-byte cookies depend on the client's address and port alone", p.CookieLength)
	if p.TimeDependent {
		why += ", and on the time"
	}
	if !p.Stateless {
		why += "; it counts from the first ClientHello, so one goes in front of each client's"
	}
	return why
}

func (p *Profile) whyNative() string {
	if !p.recognises() {
		return "asked for"
	}
	why := "the server's cookies are those that the mode computes, with the secret of fingerprint " + p.Native.Secret
	if p.Native.Mapped {
		why += ", of v4-mapped addresses"
	}
	return why
}

// Lines describes the profile for people: a name and a finding per line.
func (p *Profile) Lines() [][2]string {
	yes := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	lines := [][2]string{
		{"cookie exchange", yes(!p.AsksCookie, "none", yes(p.Stateless, "stateless", "keeps each address that asks"+yes(p.DropsOnAlert, ", until it aborts", "")))},
		{"versions", p.versions()},
	}
	if !p.AsksCookie {
		return lines
	}
	var bound []string
	for _, b := range []struct {
		is   bool
		what string
	}{
		{p.PerAddress != nil && *p.PerAddress, "address"}, {p.PerPort, "port"}, {p.PerHello, "ClientHello"}, {p.TimeDependent, "time"}, {!p.Deterministic, "chance"}, {p.PerConnection, "connection"},
	} {
		if b.is {
			bound = append(bound, b.what)
		}
	}
	if p.Native != nil {
		lines = append(lines, [2]string{"native", p.nativeLine()})
	}
	return append(lines, [][2]string{
		{"cookie", fmt.Sprintf("%d bytes, message_seq %d, bound to %s%s", p.CookieLength, p.Seq, strings.Join(bound, ", "),
			yes(p.PerAddress == nil, " (address: not known, it is not on loopback)", ""))},
		{"lifetime", yes(p.Pending, "while the server keeps who asked, for one client", yes(p.TimeDependent, yes(p.OldTaken, "limited, a second at least", "below a second"), "no limit seen"))},
		{"foreign cookies", yes(p.Trusts, "accepted", yes(p.Replays, "accepted after a ClientHello without", "refused"))},
		{"fragments", yes(p.Fragments, "taken", "not taken")},
	}...)
}

// nativeLine says which native mode explains the server's cookies.
func (p *Profile) nativeLine() string {
	which := ""
	if p.Native.Second {
		which = "second "
	}
	return fmt.Sprintf("its cookies are %v's, with the %ssecret of fingerprint %s", p.Native.Mode, which, p.Native.Secret)
}

// versions says which versions the server answers, and which it is known to accept.
func (p *Profile) versions() string {
	var parts []string
	if len(p.Versions) > 0 {
		parts = append(parts, "answers "+strings.Join(p.Versions, ", "))
	}
	if p.Negotiates != "" {
		parts = append(parts, "negotiates "+p.Negotiates)
	}
	if p.DTLS13 {
		parts = append(parts, "negotiates DTLS 1.3"+map[bool]string{true: " alone"}[p.Only13])
	}
	return strings.Join(parts, "; ")
}
