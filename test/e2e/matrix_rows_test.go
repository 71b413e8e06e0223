package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/dtls/v4/pkg/protocol"
)

// matrixClient is a client of the matrix.
type matrixClient struct {
	title   string
	library string
	dial    dialer
}

// matrixClients are the clients of the matrix by the names in rows.
var matrixClients = map[string]matrixClient{
	"openssl":      {"openssl s_client", "OpenSSL", openssl()},
	"fragments":    {"openssl s_client -mtu 256", "OpenSSL", openssl("-dtls1_2", "-mtu", "256")}, // its ClientHellos come in fragments
	"gnutls":       {"gnutls-cli", "GnuTLS", gnutls()},
	"mbedtls":      {"Mbed TLS", "Mbed TLS", peerClient("mbedtls-client")},
	"wolfssl":      {"wolfSSL", "wolfSSL", peerClient("wolfssl-client")},
	"pion":         {"Pion", "Pion", pion()},
	"botan":        {"Botan tls_client", "Botan", botan},
	"coap-openssl": {"coap-client-openssl", "libcoap", coap("openssl")},
	"coap-gnutls":  {"coap-client-gnutls", "libcoap", coap("gnutls")},
	"pion4":        {"Pion v4", "Pion v4", pion4(protocol.Version1_2)},
	"pion4-13":     {"Pion v4, DTLS 1.3", "Pion v4", pion4(protocol.Version1_3)},
	"wolfssl13":    {"wolfSSL, DTLS 1.3", "wolfSSL 1.3", peerClient("wolfssl13-client")},
	"wolfssl-dual": {"wolfSSL, DTLS 1.2 and 1.3", "wolfSSL 1.3", peerClient("wolfssl-dual-client")},
	"radsecproxy":  {"radsecproxy (radclient)", "radsecproxy", radsec},
	"erlang":       {"Erlang/OTP ssl", "Erlang/OTP", peerClient("erlang-client")},
	"jsse":         {"Java, JSSE", "Java", peerClient("jsse-client")},
	"bouncycastle": {"BouncyCastle", "BouncyCastle", peerClient("bouncycastle-client")},
	"godot":        {"Godot 3", "Godot", peerClient("godot-client")},
	"werift":       {"werift-dtls", "werift-dtls", peerClient("werift-client")},
	"node":         {"node-dtls-client, pre-shared key", "node-dtls-client", peerClient("node-dtls-client")},
	"nodertc":      {"@nodertc/dtls, pre-shared key", "@nodertc/dtls", peerClient("nodertc-client")},
}

var (
	four   = []string{"openssl", "gnutls", "mbedtls", "pion"}
	five   = append(four[:4:4], "wolfssl")
	six    = append(five[:5:5], "fragments", "botan")
	pieces = []string{"fragments"}
	late   = []string{"pion4", "pion4-13", "wolfssl13", "wolfssl-dual"}
	v6     = []string{"::1"}
)

const (
	// firstFails is what clients must cope with in mode reset.
	firstFails = "a client's first attempt from an address ends with an error at once, and its next one succeeds"
	// dies is a limit of wolfSSL 5.5.4, found when the guard asked such a server for its groups one by one.
	dies = "a first ClientHello of DTLS 1.3 without any group of the server's ends the server, with or without a guard: use a later release"
	// noSecond is a limit of double-hvr.
	noSecond = "wolfSSL clients reject a second HelloVerifyRequest and end with an error"
	// noSecondOfThree is the same with the clients of make test-foreign.
	noSecondOfThree = "wolfSSL, BouncyCastle and werift-dtls clients reject a second HelloVerifyRequest and give up"
	// coapPool is the place of coap-server's DTLS port.
	coapPool = "DTLS is on the next port"
	// coapRoom is a limit of libcoap.
	coapRoom = "the library remembers 100 addresses that asked for a cookie, for half a minute each, and ignores others, so the pool has some 90 sockets and is ready after three seconds"
	// noSeveral is a limit of Godot's client with servers that send a flight so.
	noSeveral = "no Godot client, with or without a guard: it takes no flight in several datagrams"
	// noPieces is a limit of some libraries.
	noPieces = "accepts no ClientHello in fragments (`openssl s_client -mtu 256`), with or without a guard"
)

// starter starts a row's server.
type starter = func(t *testing.T, addr netip.AddrPort, secretFile string) *server

// peer starts a server of bench/testkit/peers.
func peer(name, cookies string) starter {
	return func(t *testing.T, addr netip.AddrPort, secretFile string) *server {
		t.Helper()
		if secretFile != "" {
			cookies = secretFile
		}
		return startPeer(t, addr, name, cookies)
	}
}

// rows are the rows of the matrix.
var rows = append(nativeRows, foreignRows...)

var nativeRows = []row{
	{
		server: "openssl s_server", library: "OpenSSL", mode: "auto", becomes: "harvest",
		command: opensslListens,
		limits:  "serves one client per start: its socket stays connected to it, with or without a guard",
		single:  true, clients: six, hosts: v6,
	},
	{
		server: "openssl s_server without -listen", library: "OpenSSL", mode: "auto", becomes: "harvest",
		command: opensslAccepts,
		limits:  "serves one client at a time, with or without a guard, and sends to whoever wrote last: what it sends right after one of the guard's questions, two per second, is lost",
		single:  true, clients: six, hosts: v6,
	},
	{
		server: "OpenSSL, DTLSv1_listen", library: "OpenSSL", mode: "auto", becomes: "harvest",
		config: "cookie callbacks with an HMAC over the client's address and port, as in DTLSv1_listen(3)",
		start:  peer("openssl", ""), clients: slices.Concat(six, foreigners), hosts: v6,
	},
	{
		server: "OpenSSL, DTLSv1_listen", library: "OpenSSL", mode: "auto", becomes: "trust",
		config: "the cookie verify callback returns 1; reachable only through the guard",
		start:  peer("openssl", "trust"), clients: six, hosts: v6,
	},
	{
		server: "OpenSSL, SSL_accept", library: "OpenSSL", mode: "auto", becomes: "replay",
		config: "`SSL_OP_COOKIE_EXCHANGE`, the cookie verify callback returns 1; reachable only through the guard",
		start:  peer("openssl-accept", "trust"), clients: slices.Concat(six, foreigners), hosts: v6,
	},
	{
		server: "OpenSSL, SSL_accept", library: "OpenSSL", mode: "auto", becomes: "harvest",
		config: "`SSL_OP_COOKIE_EXCHANGE`, cookie callbacks with an HMAC over the client's address and port",
		start:  peer("openssl-accept", ""), clients: six, hosts: v6,
	},
	{
		server: "OpenSSL, SSL_accept without cookies", library: "OpenSSL", mode: "auto", becomes: "reset",
		config: "no `SSL_OP_COOKIE_EXCHANGE` (reportedly Janus and Asterisk; not tried)", start: peer("openssl-accept", "none"),
		single: true, clients: slices.Concat(five, foreigners, []string{"pion4"}), limits: firstFails + "; with `SSL_OP_COOKIE_EXCHANGE` and its callbacks the first one succeeds",
	},
	{
		server: "socat", library: "socat", mode: "auto", becomes: "reset", command: socatEchoes, single: true, clients: []string{"openssl", "gnutls", "mbedtls", "pion", "wolfssl", "pion4"}, limits: firstFails,
	},
	{
		server: "BoringSSL, SSL_accept", library: "BoringSSL", mode: "auto", becomes: "reset", config: "the library has no cookies", start: peer("boringssl", ""),
		single: true, clients: append(five[:5:5], "pion4"), limits: firstFails,
	},
	{
		server: "examples/openssl", library: "OpenSSL", mode: "auto", becomes: "native-hmac", secret: true,
		config: "as in the head of its source", start: opensslExample, clients: six, hosts: v6,
	},
	{
		server: "examples/gate, OpenSSL behind it", library: "OpenSSL", mode: "auto", becomes: "native-hmac", secret: true,
		config: "as in the head of its source", start: gateExample, clients: six, hosts: v6,
	},
	{
		server: "gnutls-serv", library: "GnuTLS", mode: "auto", becomes: "harvest",
		command: gnutlsServ,
		limits:  "serves one client at a time, with or without a guard",
		single:  true, clients: six, hosts: v6,
	},
	{
		server: "GnuTLS, gnutls_dtls_cookie_verify", library: "GnuTLS", mode: "auto", becomes: "harvest",
		config: "a key of gnutls_key_generate, the client's socket address as client data",
		start:  peer("gnutls", ""), clients: slices.Concat(six, bySeveral), hosts: v6, limits: noSeveral,
	},
	{
		server: "GnuTLS, gnutls_dtls_cookie_verify", library: "GnuTLS", mode: "auto", becomes: "native-gnutls", secret: true,
		config: "the 32 bytes of `--secret-file` as key, the client's socket address as client data",
		start:  peer("gnutls", ""), clients: six, hosts: v6,
	},
	{
		server: "Mbed TLS", library: "Mbed TLS", mode: "auto", becomes: "harvest",
		config: "`mbedtls_ssl_conf_dtls_cookies`, the client's address and port as transport id",
		start:  peer("mbedtls", ""), clients: append(five[:5:5], "botan"), alone: pieces, hosts: v6, limits: noPieces,
	},
	{
		server: "Mbed TLS", library: "Mbed TLS", mode: "double-hvr",
		config: "the same",
		start:  peer("mbedtls", ""), clients: append(four[:4:4], "botan", "erlang", "jsse", "godot"), fails: []string{"wolfssl", "bouncycastle", "werift"}, hosts: v6, alone: pieces, limits: noSecondOfThree + "; " + noPieces,
	},
	{
		server: "Mbed TLS, address without port", library: "Mbed TLS", mode: "auto", becomes: "double-hvr",
		config: "`mbedtls_ssl_conf_dtls_cookies`, the client's address as transport id, as in the library's sample server",
		start:  peer("mbedtls", "host"), clients: append(four[:4:4], "botan"), fails: []string{"wolfssl"}, hosts: v6, alone: pieces, limits: noSecond + "; " + noPieces,
	},
	{
		server: "wolfSSL", library: "wolfSSL", mode: "auto", becomes: "double-hvr",
		config: "`wolfSSL_DTLS_SetCookieSecret` with its own secret",
		start:  peer("wolfssl", ""), clients: append(four[:4:4], "botan"), fails: []string{"wolfssl"}, hosts: v6, alone: pieces, limits: noSecond + "; " + noPieces,
	},
	{
		server: "wolfSSL", library: "wolfSSL", mode: "auto", becomes: "native-wolfssl", secret: true,
		config: "`wolfSSL_DTLS_SetCookieSecret` with the 32 bytes of `--secret-file`",
		start:  peer("wolfssl", ""), clients: slices.Concat(five, bySeveral, []string{"botan"}), alone: pieces, hosts: v6, limits: noPieces + "; " + noSeveral,
	},
	{
		server: "Qt QDtls", library: "Qt", mode: "auto", becomes: "harvest",
		config: "`QDtlsClientVerifier` and `QDtls` with a secret of their own",
		start:  peer("qt", ""), clients: six, hosts: v6,
	},
	{
		server: "Qt QDtls", library: "Qt", mode: "auto", becomes: "native-qt", secret: true,
		config: "`setCookieGeneratorParameters` of both with SHA-256 and the 32 bytes of `--secret-file`",
		start:  peer("qt", ""), clients: six, hosts: v6,
	},
	{
		server: "coap-server-openssl", library: "libcoap", mode: "auto", becomes: "harvest",
		command: fmt.Sprintf(coapServer, "openssl"), config: coapPool,
		clients: []string{"coap-openssl", "coap-gnutls"}, hosts: v6,
		limits: coapRoom,
	},
	{
		server: "coap-server-gnutls", library: "libcoap", mode: "auto", becomes: "harvest",
		command: fmt.Sprintf(coapServer, "gnutls"), config: coapPool,
		clients: []string{"coap-openssl", "coap-gnutls"},
		limits:  coapRoom + "; no handshake over IPv6 with an address in the URI, with or without a guard: the server rejects it as a server name",
	},
	{
		server: "coturn", library: "coturn", mode: "auto", becomes: "harvest",
		command: coturn, pool: 256, talk: binding, clients: []string{"openssl", "mbedtls", "pion", "wolfssl"},
		limits: "coturn 4.6 derives a cookie from the connection that a first ClientHello opens, so each socket of the pool is an unfinished handshake there, of some 65 KB: 512 at most. Later versions were not tried",
	},
	{
		server: "radsecproxy", library: "radsecproxy", mode: "auto", becomes: "harvest",
		config: "`ListenDTLS 127.0.0.1:4434`, a `client` with `host 127.0.0.1`, the guard's address, and `type dtls`",
		start:  radsecServes, talk: rejected, clients: []string{"radsecproxy"}, hosts: v6,
		limits: "its cookies have 40 bytes, and GnuTLS and wolfSSL clients accept 32, with or without a guard; they are valid for 5 seconds, so each socket of the pool asks again every two; all clients have the guard's address, so only certificates tell them apart",
	},
	{
		server: "Pion", library: "Pion", mode: "auto", becomes: "reset", config: "`dtls.Listen`", start: peer("pion", ""),
		single: true, clients: five, limits: firstFails,
	},
	{
		server: "Pion v4, DTLS 1.2 and 1.3", library: "Pion v4", mode: "auto", becomes: "reset", config: "`dtls.ListenAddr`", start: peer("pion4", ""),
		single: true, clients: append(five[:5:5], late...), limits: firstFails,
	},
	{
		server: "Pion v4, DTLS 1.3", library: "Pion v4", mode: "auto", becomes: "reset", config: "`dtls.ListenAddr` with `WithMinVersion(protocol.Version1_3)`", start: peer("pion4", "13"),
		single: true, clients: late, limits: firstFails,
	},
	{
		server: "wolfSSL, DTLS 1.3", library: "wolfSSL 1.3", mode: "auto", becomes: "reset", config: "`wolfSSL_send_hrr_cookie` with its own secret", start: peer("wolfssl13", ""),
		single: true, clients: late, limits: firstFails,
	},
	{
		server: "wolfSSL, DTLS 1.3", library: "wolfSSL 1.3", mode: "auto", becomes: "native-wolfssl", secret: true,
		config: "`wolfSSL_send_hrr_cookie` with the 32 bytes of `--secret-file`", start: peer("wolfssl13", ""), clients: late,
	},
	{
		server: "wolfSSL, DTLS 1.2 and 1.3", library: "wolfSSL 1.3", mode: "auto", becomes: "native-wolfssl", secret: true,
		config: "`wolfSSL_send_hrr_cookie` and `wolfSSL_DTLS_SetCookieSecret` with the 32 bytes of `--secret-file`", start: peer("wolfssl-dual", ""),
		clients: append(five[:5:5], late...),
	},
	{
		server: "wolfSSL, DTLS 1.2 and 1.3", library: "wolfSSL 1.3", mode: "auto", becomes: "reset",
		config: "`wolfSSL_send_hrr_cookie` and `wolfSSL_DTLS_SetCookieSecret` with its own secrets", start: peer("wolfssl-dual", ""),
		single: true, clients: append(five[:5:5], late...), limits: firstFails,
	},
	{
		server: "wolfSSL, DTLS 1.3", library: "wolfSSL 1.3 of Debian 12", mode: "auto", becomes: "native-wolfssl", secret: true,
		config: "`wolfSSL_send_hrr_cookie` with the 32 bytes of `--secret-file`; built from Debian 12's source with `--enable-dtls13`", start: peer("wolfssl13-bookworm", ""), clients: late,
		limits: dies,
	},
	{
		server: "wolfSSL, DTLS 1.2 and 1.3", library: "wolfSSL 1.3 of Debian 12", mode: "auto", becomes: "native-wolfssl", secret: true,
		config: "`wolfSSL_send_hrr_cookie` and `wolfSSL_DTLS_SetCookieSecret` with the 32 bytes of `--secret-file`; built from Debian 12's source with `--enable-dtls13`", start: peer("wolfssl-dual-bookworm", ""), clients: append(five[:5:5], late...),
		limits: dies,
	},
}
