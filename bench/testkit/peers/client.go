package peers

// Clients are small clients with the arguments ADDRESS PORT. They send their standard input and print what comes back.
var Clients = []Program{
	library("mbedtls-client", "Mbed TLS client", "mbedtls/client.c", "libmbedtls-dev", "-lmbedtls", "-lmbedx509", "-lmbedcrypto"),
	library("wolfssl-client", "wolfSSL client", "wolfssl/client.c", "libwolfssl-dev", "-lwolfssl"),
	wolfSSL13("wolfssl13-client", "wolfSSL client, DTLS 1.3", "wolfssl/client.c", "-DDTLS13"),
	wolfSSL13("wolfssl13-psk-client", "wolfSSL client, DTLS 1.3, pre-shared key", "wolfssl/client.c", "-DDTLS13", "-DPSK"),
	wolfSSL13("wolfssl13-resume-client", "wolfSSL client, DTLS 1.3, resumption", "wolfssl/client.c", "-DDTLS13", "-DRESUME"),
	wolfSSL13("wolfssl-dual-client", "wolfSSL client, DTLS 1.2 and 1.3", "wolfssl/client.c", "-DDTLS13", "-DDTLS12"),
	library("erlang-client", "Erlang/OTP ssl", "erlang/client.escript", "erlang-base erlang-ssl"),
	library("jsse-client", "Java, JSSE", "java/Jsse.java", "openjdk-17-jdk-headless"),
	library("bouncycastle-client", "BouncyCastle", "java/Bouncy.java", "openjdk-17-jdk-headless libbctls-java"),
	library("godot-client", "Godot", "godot/client.gd", "godot3-server"),
	node("node-dtls-client", "node-dtls-client", "node/node-dtls-client.js"),
	node("nodertc-client", "@nodertc/dtls", "node/nodertc.js"),
	node("werift-client", "werift-dtls", "node/werift.js"),
}

// node is a program on a library of npm's.
func node(name, title, source string) Program {
	return Program{Name: name, Title: title, Source: source, Package: "nodejs npm", Tree: "node/prefix"}
}

// FindClient returns the client of that name, nil if there is none.
func FindClient(name string) *Program {
	for i := range Clients {
		if Clients[i].Name == name {
			return &Clients[i]
		}
	}
	return nil
}
