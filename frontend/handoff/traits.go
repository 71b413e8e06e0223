package handoff

import (
	"fmt"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Traits is what probing found out about a server.
type Traits struct {
	AsksCookie   bool `json:"asks_cookie"`   // answers a first ClientHello with a HelloVerifyRequest
	Stateless    bool `json:"stateless"`     // ... each time: it keeps nothing of who asks
	Forgets      bool `json:"forgets"`       // if not stateless: it forgets a client that calls off
	CookieLength int  `json:"cookie_length"` // bytes
	Seq          int  `json:"hello_verify_message_seq"`

	Steady     bool  `json:"steady"`                // the same cookie for the same ClientHello at once
	Timed      bool  `json:"timed"`                 // another one a second later
	OldTaken   bool  `json:"old_cookie_taken"`      // if timed: the one of a second ago still passes
	PerAddress *bool `json:"per_address,omitempty"` // another for another address; known of servers on loopback
	PerPort    bool  `json:"per_port"`              // another for another port
	PerHello   bool  `json:"per_hello"`             // another for another random, or another version and other suites

	Trusts       bool `json:"trusts"`        // takes any cookie, in the first ClientHello it sees
	Replays      bool `json:"replays"`       // takes any cookie, after a ClientHello without
	SecondVerify bool `json:"second_verify"` // answers a wrong cookie with its own, and takes that in message 2

	Native        *Recognised `json:"native,omitempty"` // what explains its cookies, if a secret is shared with it
	PerConnection bool        `json:"per_connection"`   // another cookie when others have asked meanwhile, of servers that keep who asks
	Held          bool        `json:"held"`             // ... but takes the one that it gave from whom it still keeps, whatever the ClientHello

	Fragments  bool     `json:"fragments"`            // takes a ClientHello in two fragments
	Versions   []string `json:"versions"`             // of DTLS, that it answers a ClientHello of
	Negotiates string   `json:"negotiates,omitempty"` // the version that it chose, offered DTLS 1.2; not all servers get so far
	DTLS13     bool     `json:"dtls13"`               // negotiates DTLS 1.3
	Only13     bool     `json:"dtls13_only"`          // and nothing else
}

// Misfit says why clients cannot be handed to a server, and how to fix that.
type Misfit struct{ Reason, Fix string }

func (m *Misfit) Error() string { return m.Reason }

// Hint is the fix, as package hint wants it.
func (m *Misfit) Hint() string { return m.Fix }

// counts reports whether the server takes a client up only from its first ClientHello on, as OpenSSL's SSL_accept does,
// and must be told to forget who asked for a cookie.
func (t *Traits) counts() bool { return t.AsksCookie && !t.Stateless && !t.Held }

// recognises reports whether the server's cookies are those of a native mode, under the secret that the guard issues
// cookies with.
func (t *Traits) recognises() bool { return t.Native != nil && !t.Native.Second }

// ages reports whether cookies must be asked for again before they are too old.
func (t *Traits) ages() bool { return t.Timed && !t.Held }

// trustFix is the way out for servers whose own cookies are of no use.
const trustFix = "let its cookie-verify callback accept every cookie (reachable only through dtlsguard), and use --handoff trust"

// kind picks the mode that fits, or says why none does and how to fix that.
func (t *Traits) kind() (Mode, error) {
	switch {
	case t.DTLS13:
		return Reset, nil
	case t.Trusts:
		return Trust, nil
	case !t.AsksCookie:
		return Reset, nil
	case t.recognises():
		return t.Native.Mode, nil
	case t.Replays:
		return Replay, nil
	case t.unharvestable() == "":
		return Harvest, nil
	case t.SecondVerify:
		return DoubleHVR, nil
	}
	return Reset, nil
}

// serves is which versions clients of the server may have.
func (t *Traits) serves() (v Versions) {
	if t.DTLS13 {
		v |= Serves13
	}
	if !t.Only13 {
		v |= Serves12
	}
	return v
}

// resetWhy says why there is nothing better for the server than to have clients prove their address by an attempt that
// fails.
func (t *Traits) resetWhy() string {
	const cost = "; clients prove their address with a first attempt that fails"
	switch {
	case t.DTLS13:
		return "the server negotiates DTLS 1.3, where no cookie but its own is right" + cost
	case !t.AsksCookie:
		return "the server starts a handshake without asking for a cookie, so it would reject a first ClientHello that carries one" + cost
	}
	return t.unharvestable() + ", and it does not take a second cookie exchange" + cost + " (better: " + trustFix + ")"
}

// unharvestable says why the server's cookies cannot be harvested; "" if they can.
func (t *Traits) unharvestable() string {
	switch {
	case !t.AsksCookie:
		return "it starts a handshake without asking for a cookie"
	case t.CookieLength > hello.MaxCookie:
		return fmt.Sprintf("its cookies are %d bytes, more than the %d that dtlsguard keeps", t.CookieLength, hello.MaxCookie)
	case t.Held:
		return ""
	case !t.Stateless && !t.Forgets:
		return "it keeps each address that asks for a cookie, even one that calls off"
	case !t.Steady:
		return "its cookies are new each time"
	case t.PerConnection:
		return "its cookies depend on the connection that a first ClientHello opens there, so another one than asked is refused"
	case t.PerHello:
		return "its cookies depend on more than the client's address, so they cannot be harvested"
	case !t.PerPort:
		return "its cookies do not depend on the client's port, so a harvested one would fit every client"
	case t.Timed && !t.OldTaken:
		return "its cookies die within a second"
	}
	return ""
}

// why says in a few words what the choice of kind k rests on.
func (t *Traits) why(k Mode) string {
	switch k {
	case Trust:
		return "the server accepts any cookie"
	case Replay:
		return "the server accepts any cookie, once it has seen a ClientHello without one"
	case Reset:
		return t.resetWhy()
	case Limit:
		return "asked for; nobody proves anything: the rate bounds what a flood costs the server"
	case DoubleHVR:
		return t.unharvestable() + "; it takes a second cookie exchange"
	case Harvest:
		why := fmt.Sprintf("the server's %d-byte cookies depend on the client's address and port alone", t.CookieLength)
		if t.Timed {
			why += ", and on the time"
		}
		if t.Held {
			return fmt.Sprintf("the server keeps whom it has given a cookie: so many unfinished handshakes as the pool has sockets, which may be %d", heldMost)
		}
		if !t.Stateless {
			why += "; it counts from the first ClientHello, so one goes in front of each client's"
		}
		return why
	}
	if t.recognises() && t.Native.Mode == k {
		why := "the server's cookies are those that the mode computes, with the secret of fingerprint " + t.Native.Secret
		if t.Native.Mapped {
			why += ", of v4-mapped addresses"
		}
		return why
	}
	return "asked for"
}

// Lines describes the traits for people, one name and one finding each.
func (t *Traits) Lines() [][2]string {
	yes := func(b bool, yes, no string) string {
		if b {
			return yes
		}
		return no
	}
	lines := [][2]string{
		{"cookie exchange", yes(!t.AsksCookie, "none", yes(t.Stateless, "stateless", "keeps each address that asks"+yes(t.Forgets, ", until it calls off", "")))},
		{"versions", t.versions()},
	}
	if !t.AsksCookie {
		return lines
	}
	var bound []string
	for _, b := range []struct {
		is   bool
		what string
	}{
		{t.PerAddress != nil && *t.PerAddress, "address"}, {t.PerPort, "port"}, {t.PerHello, "ClientHello"}, {t.Timed, "time"}, {!t.Steady, "chance"}, {t.PerConnection, "connection"},
	} {
		if b.is {
			bound = append(bound, b.what)
		}
	}
	if t.Native != nil {
		lines = append(lines, [2]string{"native", t.nativeLine()})
	}
	return append(lines, [][2]string{
		{"cookie", fmt.Sprintf("%d bytes, message_seq %d, bound to %s%s", t.CookieLength, t.Seq, strings.Join(bound, ", "),
			yes(t.PerAddress == nil, " (address: not known, it is not on loopback)", ""))},
		{"lifetime", yes(t.Held, "while the server keeps who asked, for one client", yes(t.Timed, yes(t.OldTaken, "limited, a second at least", "below a second"), "no limit seen"))},
		{"foreign cookies", yes(t.Trusts, "accepted", yes(t.Replays, "accepted after a ClientHello without", "refused"))},
		{"fragments", yes(t.Fragments, "taken", "not taken")},
	}...)
}

// nativeLine says which native mode explains the server's cookies.
func (t *Traits) nativeLine() string {
	which := ""
	if t.Native.Second {
		which = "second "
	}
	return fmt.Sprintf("its cookies are %v's, with the %ssecret of fingerprint %s", t.Native.Mode, which, t.Native.Secret)
}

// versions says which it answers, and what is known of which it takes.
func (t *Traits) versions() string {
	var parts []string
	if len(t.Versions) > 0 {
		parts = append(parts, "answers "+strings.Join(t.Versions, ", "))
	}
	if t.Negotiates != "" {
		parts = append(parts, "negotiates "+t.Negotiates)
	}
	if t.DTLS13 {
		parts = append(parts, "negotiates DTLS 1.3"+map[bool]string{true: " alone"}[t.Only13])
	}
	return strings.Join(parts, "; ")
}
