package e2e

import "slices"

var (
	// foreigners are clients that need a runtime, and have certificates.
	foreigners = []string{"erlang", "jsse", "bouncycastle", "godot", "werift"}
	// bySeveral are those that take a flight in several datagrams, as GnuTLS, wolfSSL, Erlang and Java send it: Godot's client does not.
	bySeveral = []string{"erlang", "jsse", "bouncycastle", "werift"}
	// preShared keys are all that these have.
	preShared = []string{"node", "nodertc"}
)

// opensslPSK has the key of the clients in bench/testkit/peers/node.
const opensslPSK = "openssl s_server -dtls1_2 -accept 127.0.0.1:4434 -nocert -psk_identity me -psk 6b65792d666f722d7465737473 -cipher PSK"

// isForeign reports whether a client needs a runtime.
func isForeign(client string) bool {
	return slices.Contains(slices.Concat(foreigners, preShared), client)
}

// foreignRows are servers that need a runtime, and a server for clients that do.
var foreignRows = []row{
	{
		server: "Erlang/OTP ssl", library: "Erlang/OTP", mode: "auto", becomes: "reset", config: "`ssl:listen` with `{protocol, dtls}`",
		start: peer("erlang", ""), foreign: true, clients: slices.Concat(six, bySeveral), alone: []string{"godot"},
		limits: firstFails + "; its cookies differ each time; it logs the guard's questions, two per second, unless it has `{log_level, error}`; no Godot client, with or without a guard",
	},
	{
		server: "Java, JSSE", library: "Java", mode: "auto", becomes: "reset", config: "an `SSLEngine` of the context `DTLS` for each address",
		start: peer("jsse", ""), foreign: true, clients: slices.Concat(five, pieces, bySeveral), alone: []string{"godot"},
		limits: firstFails + "; its cookies depend on the ClientHello; no Godot client, with or without a guard; Botan's ends with an error when a flight is retransmitted",
	},
	{
		server: "BouncyCastle", library: "BouncyCastle", mode: "auto", becomes: "reset", config: "a `DTLSVerifier` with the client's address and port",
		start: peer("bouncycastle", ""), foreign: true, clients: slices.Concat(four, bySeveral, []string{"botan"}), alone: append(pieces[:1:1], "wolfssl", "godot"),
		limits: firstFails + "; its cookies depend on the ClientHello; " + noPieces + ", and no wolfSSL and no Godot client",
	},
	{
		server: "Godot DTLSServer", library: "Godot", mode: "auto", becomes: "harvest", config: "as in the documentation of `DTLSServer`",
		start: peer("godot", ""), foreign: true, clients: slices.Concat(five, foreigners, []string{"botan"}), alone: pieces, limits: noPieces,
	},
	{
		server: "openssl s_server -psk", library: "OpenSSL", mode: "auto", becomes: "harvest", command: opensslPSK,
		foreign: true, single: true, clients: preShared,
	},
	{
		server: "openssl s_server -psk", library: "OpenSSL", mode: "double-hvr", command: opensslPSK,
		foreign: true, fails: preShared, limits: "neither client accepts a second HelloVerifyRequest; both end with an error",
	},
}
