package peers

import (
	"net/netip"
	"runtime"
	"strconv"
)

// Server is a small server.
type Server struct {
	Program
	Answers bool // with HelloVerifyRequests that repeat the question's record sequence number
}

// Servers lists all servers. The first is the limit of a server with sockets: it answers, but serves nobody. The head of
// each source explains its cookies.
var Servers = []Server{
	{Program: Program{Name: "echo", Title: "C recvmmsg/sendmmsg echo", Source: "echo/echo.c", Package: "libc6-dev"}},
	{library("openssl", "OpenSSL DTLSv1_listen", "openssl/openssl.c", "libssl-dev", "-lssl", "-lcrypto"), true},
	{library("openssl-accept", "OpenSSL SSL_accept", "openssl/accept.c", "libssl-dev", "-lssl", "-lcrypto"), false},
	{library("gnutls", "GnuTLS gnutls_dtls_cookie_send", "gnutls/gnutls.c", "libgnutls28-dev", "-lgnutls"), false}, // its record sequence number is 0, whatever the question's
	{library("mbedtls", "Mbed TLS", "mbedtls/mbedtls.c", "libmbedtls-dev", "-lmbedtls", "-lmbedx509", "-lmbedcrypto"), true},
	{library("wolfssl", "wolfSSL", "wolfssl/wolfssl.c", "libwolfssl-dev", "-lwolfssl"), true},
	{wolfSSL13("wolfssl13", "wolfSSL, DTLS 1.3", "wolfssl/wolfssl.c", "-DDTLS13"), true},
	{wolfSSL13("wolfssl-dual", "wolfSSL, DTLS 1.2 and 1.3", "wolfssl/wolfssl.c", "-DDTLS13", "-DDTLS12"), true},
	{library("qt", "Qt QDtlsClientVerifier", "qt/qt.cc", "g++ pkg-config qt6-base-dev", "Qt6Network"), true},
	{library("pion", "Pion", "pion/main.go", "golang"), false},
	{library("pion4", "Pion v4", "pion4/main.go", "golang"), false},
}

// Foreign lists servers in languages that need a runtime, which benchmarks do not compare with.
var Foreign = []Server{
	{Program: library("erlang", "Erlang/OTP ssl", "erlang/server.escript", "erlang-base erlang-ssl")},
	{Program: library("jsse", "Java, JSSE", "java/Jsse.java", "openjdk-17-jdk-headless")},
	{Program: library("bouncycastle", "BouncyCastle", "java/Bouncy.java", "openjdk-17-jdk-headless libbctls-java")},
	{Program: library("godot", "Godot DTLSServer", "godot/server.gd", "godot3-server")},
}

// More are servers that benchmarks do not compare with: other releases and builds of libraries above.
var More = []Server{
	{of("bookworm", wolfSSL13("wolfssl13-bookworm", "wolfSSL of Debian 12, DTLS 1.3", "wolfssl/wolfssl.c", "-DDTLS13")), true},
	{of("bookworm", wolfSSL13("wolfssl-dual-bookworm", "wolfSSL of Debian 12, DTLS 1.2 and 1.3", "wolfssl/wolfssl.c", "-DDTLS13", "-DDTLS12")), true},
	{boringSSL(), false},
}

// of is p with the library of one release of Debian's.
func of(release string, p Program) Program {
	p.Release = release
	return p
}

// boringSSL is a program on the BoringSSL that Debian has for Android's tools, beside OpenSSL's files of the same names.
func boringSSL() Program {
	p := library("boringssl", "BoringSSL", "boringssl/boringssl.c", "android-libboringssl-dev", "-lssl", "-lcrypto")
	libraries := "/usr/lib/" + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] + "-linux-gnu/android"
	p.Options = []string{"-I/usr/include/android", "-L" + libraries, "-Wl,-rpath," + libraries}
	return p
}

// library is a program whose libraries a package has.
func library(name, title, source, pkg string, libraries ...string) Program {
	return Program{Name: name, Title: title, Source: source, Libraries: libraries, Package: pkg}
}

// wolfSSL13 is a program on a wolfSSL with DTLS 1.3.
func wolfSSL13(name, title, source string, options ...string) Program {
	return Program{Name: name, Title: title, Source: source, Libraries: []string{"-lwolfssl", "-lm"},
		Package: "dpkg-dev autoconf automake libtool make", Options: options, Tree: "wolfssl13/prefix"}
}

// Arguments returns the arguments to start a server with. cookies selects its cookies, "" the server's default: a word
// explained at the head of its source, or a path (with a slash) of a file with a secret in dtlsguard's format.
func Arguments(at netip.AddrPort, id Identity, cookies string) []string {
	args := []string{at.Addr().String(), strconv.Itoa(int(at.Port())), id.Certificate, id.Key}
	if cookies != "" {
		args = append(args, cookies)
	}
	return args
}

// Find returns the server of that name, nil if there is none.
func Find(name string) *Server {
	for _, list := range [][]Server{Servers, More, Foreign} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
