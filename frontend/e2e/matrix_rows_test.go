package e2e

import (
	"net/netip"
	"testing"
)

// matrixClients are the clients of the matrix by the names in rows.
var matrixClients = map[string]struct {
	title   string
	library string
	dial    dialer
}{
	"openssl":      {"openssl s_client", "OpenSSL", openssl()},
	"gnutls":       {"gnutls-cli", "GnuTLS", gnutls()},
	"mbedtls":      {"Mbed TLS", "Mbed TLS", peerClient("mbedtls-client")},
	"wolfssl":      {"wolfSSL", "wolfSSL", peerClient("wolfssl-client")},
	"pion":         {"Pion", "Pion", pion()},
	"turn-openssl": {"openssl s_client", "OpenSSL", turnOpenSSL},
	"turn-pion":    {"Pion", "Pion", turnPion},
	"coap-openssl": {"coap-client-openssl", "libcoap", coap("openssl")},
	"coap-gnutls":  {"coap-client-gnutls", "libcoap", coap("gnutls")},
}

var (
	five = []string{"openssl", "gnutls", "mbedtls", "wolfssl", "pion"}
	four = []string{"openssl", "gnutls", "mbedtls", "pion"}
	v6   = []string{"::1"}
)

// noSecond is what double-hvr asks of clients.
const noSecond = "a wolfSSL client does not take a second HelloVerifyRequest, and ends with an error"

// starter starts a row's server.
type starter = func(t *testing.T, addr netip.AddrPort, secretFile string) *server

// peer starts a server of bench/peers.
func peer(name, cookies string) starter {
	return func(t *testing.T, addr netip.AddrPort, secretFile string) *server {
		t.Helper()
		if secretFile != "" {
			cookies = secretFile
		}
		return startPeer(t, addr, name, cookies)
	}
}

func coapWith(library string) starter {
	return func(t *testing.T, addr netip.AddrPort, _ string) *server {
		t.Helper()
		return coapServer(t, addr, library)
	}
}

// rows are the matrix.
var rows = []row{
	{
		server: "openssl s_server", library: "OpenSSL", mode: "auto", becomes: "harvest",
		config: "`openssl s_server -dtls1_2 -listen -accept 4434 -cert cert.pem -key key.pem`",
		limits: "serves one client per start: its socket stays connected to it, with or without a guard",
		start: func(t *testing.T, addr netip.AddrPort, _ string) *server {
			t.Helper()
			return opensslServer(t, addr)
		},
		single: true, clients: five, hosts: v6,
	},
	{
		server: "OpenSSL, DTLSv1_listen", library: "OpenSSL", mode: "auto", becomes: "harvest",
		config: "cookie callbacks with an HMAC over the client's address and port, as DTLSv1_listen(3) has it",
		start:  peer("openssl", ""), clients: five, hosts: v6,
	},
	{
		server: "OpenSSL, DTLSv1_listen", library: "OpenSSL", mode: "auto", becomes: "trust",
		config: "the cookie verify callback returns 1; reachable through the guard alone",
		start:  peer("openssl", "trust"), clients: five, hosts: v6,
	},
	{
		server: "OpenSSL, SSL_accept", library: "OpenSSL", mode: "auto", becomes: "replay",
		config: "`SSL_OP_COOKIE_EXCHANGE`, the cookie verify callback returns 1; reachable through the guard alone",
		start:  peer("openssl-accept", "trust"), clients: five,
	},
	{
		server: "OpenSSL, SSL_accept", library: "OpenSSL", mode: "auto", becomes: "harvest",
		config: "`SSL_OP_COOKIE_EXCHANGE`, cookie callbacks with an HMAC over the client's address and port",
		start:  peer("openssl-accept", ""), clients: five,
	},
	{
		server: "OpenSSL, SSL_accept without cookies", library: "OpenSSL", mode: "auto",
		config: "no `SSL_OP_COOKIE_EXCHANGE`: so are Janus, Asterisk and what is built on BoringSSL", start: peer("openssl-accept", "none"),
		refused: "starts a handshake without asking for a cookie",
		limits:  "expects message_seq 0 of a ClientHello, and a client that has shown a cookie sends 1: set `SSL_OP_COOKIE_EXCHANGE` and the callbacks",
	},
	{
		server: "gnutls-serv", library: "GnuTLS", mode: "auto", becomes: "harvest",
		config: "`gnutls-serv --udp --port 4434 --x509certfile cert.pem --x509keyfile key.pem`",
		limits: "serves one client at a time, with or without a guard; on a busy machine a handshake can hang, if the guard's question for a cookie comes in the middle of it",
		quiet:  true,
		start: func(t *testing.T, addr netip.AddrPort, _ string) *server {
			t.Helper()
			return gnutlsServer(t, addr)
		},
		single: true, clients: five, hosts: v6,
	},
	{
		server: "GnuTLS, gnutls_dtls_cookie_verify", library: "GnuTLS", mode: "auto", becomes: "harvest",
		config: "a key of gnutls_key_generate, the client's socket address as client data",
		start:  peer("gnutls", ""), clients: five, hosts: v6,
	},
	{
		server: "GnuTLS, gnutls_dtls_cookie_verify", library: "GnuTLS", mode: "native-gnutls", secret: true,
		config: "the 32 bytes of `--secret-file` as key, the client's socket address as client data; `--handoff native-gnutls --secret-file FILE`",
		start:  peer("gnutls", ""), clients: five, hosts: v6,
	},
	{
		server: "Mbed TLS", library: "Mbed TLS", mode: "double-hvr",
		config: "`mbedtls_ssl_conf_dtls_cookies`, the client's address and port as transport id; `--handoff double-hvr`",
		start:  peer("mbedtls", ""), clients: four, fails: []string{"wolfssl"}, hosts: v6, limits: noSecond,
	},
	{
		server: "Mbed TLS, address without port", library: "Mbed TLS", mode: "auto", becomes: "double-hvr",
		config: "`mbedtls_ssl_conf_dtls_cookies`, the client's address as transport id, as the library's sample server has it",
		start:  peer("mbedtls", "host"), clients: four, fails: []string{"wolfssl"}, limits: noSecond,
	},
	{
		server: "wolfSSL", library: "wolfSSL", mode: "auto", becomes: "double-hvr",
		config: "`wolfSSL_DTLS_SetCookieSecret` with a secret of its own",
		start:  peer("wolfssl", ""), clients: four, fails: []string{"wolfssl"}, limits: noSecond, hosts: v6,
	},
	{
		server: "wolfSSL", library: "wolfSSL", mode: "native-wolfssl", secret: true,
		config: "`wolfSSL_DTLS_SetCookieSecret` with the 32 bytes of `--secret-file`; `--handoff native-wolfssl --secret-file FILE`",
		start:  peer("wolfssl", ""), clients: five, hosts: v6,
	},
	{
		server: "Qt QDtls", library: "Qt", mode: "auto", becomes: "harvest",
		config: "`QDtlsClientVerifier` and `QDtls` with the same secret of their own",
		start:  peer("qt", ""), clients: five, hosts: v6,
	},
	{
		server: "Qt QDtls", library: "Qt", mode: "native-qt", secret: true,
		config: "`setCookieGeneratorParameters` of both with SHA-256 and the 32 bytes of `--secret-file`; `--handoff native-qt --secret-file FILE`",
		start:  peer("qt", ""), clients: five, hosts: v6,
	},
	{
		server: "coap-server-openssl", library: "libcoap", mode: "auto", becomes: "harvest",
		config: "`coap-server-openssl -p 5683 -h HINT -k KEY`; DTLS on port 5684; `--harvest-pool 64`: the library keeps 100 unfinished handshakes",
		start:  coapWith("openssl"), pool: 64, clients: []string{"coap-openssl", "coap-gnutls"}, hosts: v6,
	},
	{
		server: "coap-server-gnutls", library: "libcoap", mode: "auto", becomes: "harvest",
		config: "`coap-server-gnutls -p 5683 -h HINT -k KEY`; DTLS on port 5684; `--harvest-pool 64`: the library keeps 100 unfinished handshakes",
		start:  coapWith("gnutls"), pool: 64, clients: []string{"coap-openssl", "coap-gnutls"},
		limits: "no handshake over IPv6 with an address in the URI, with or without a guard: the server refuses it as a server name",
	},
	{
		server: "coturn", library: "coturn", mode: "auto", becomes: "harvest",
		config: "`turnserver --tls-listening-port 5349 --cert cert.pem --pkey key.pem --no-tls --no-tcp`; `--harvest-pool 64`: coturn 4.6 derives a cookie from the connection that a first ClientHello opens, so each socket of the pool is an unfinished handshake there, of some 65 KB; 512 at most",
		start: func(t *testing.T, addr netip.AddrPort, _ string) *server {
			t.Helper()
			return turnServer(t, addr)
		},
		pool: 64, clients: []string{"turn-openssl", "turn-pion"},
	},
	{
		server: "Pion", library: "Pion", mode: "auto", config: "`dtls.Listen`", start: peer("pion", ""),
		refused: "cookie",
		limits:  "keeps the cookie in the connection that the first ClientHello opened, so a ClientHello with one is a stranger's",
	},
}
