package peers

import (
	"net/netip"
	"strconv"
)

// Server is a small server.
type Server struct {
	Program
	Answers bool // with HelloVerifyRequests that have their question's record sequence number
}

// Servers are all there are. The first is the limit of what a server with sockets can do; it answers, but serves
// nobody. What a server's cookies can be is said at the head of its source.
var Servers = []Server{
	{Program: Program{Name: "echo", Title: "C recvmmsg/sendmmsg echo", Source: "echo/echo.c", Package: "libc6-dev"}},
	{Program{"openssl", "OpenSSL DTLSv1_listen", "openssl/openssl.c", []string{"-lssl", "-lcrypto"}, "libssl-dev"}, true},
	{Program{"openssl-accept", "OpenSSL SSL_accept", "openssl/accept.c", []string{"-lssl", "-lcrypto"}, "libssl-dev"}, false},
	{Program{"gnutls", "GnuTLS gnutls_dtls_cookie_send", "gnutls/gnutls.c", []string{"-lgnutls"}, "libgnutls28-dev"}, false}, // its record sequence number is 0, whatever the question's
	{Program{"mbedtls", "Mbed TLS", "mbedtls/mbedtls.c", []string{"-lmbedtls", "-lmbedx509", "-lmbedcrypto"}, "libmbedtls-dev"}, true},
	{Program{"wolfssl", "wolfSSL", "wolfssl/wolfssl.c", []string{"-lwolfssl"}, "libwolfssl-dev"}, true},
	{Program{"qt", "Qt QDtlsClientVerifier", "qt/qt.cc", []string{"Qt6Network"}, "g++ pkg-config qt6-base-dev"}, true},
	{Program{"pion", "Pion", "pion/main.go", nil, "golang"}, false},
}

// Arguments are what a server is to be started with. cookies is what they are to be, "" for the server's own: the
// head of each source says what there is; a path (with a slash) is a file with a secret as dtlsguard's.
func Arguments(at netip.AddrPort, id Identity, cookies string) []string {
	args := []string{at.Addr().String(), strconv.Itoa(int(at.Port())), id.Certificate, id.Key}
	if cookies != "" {
		args = append(args, cookies)
	}
	return args
}

// Find returns the server of that name, nil if there is none.
func Find(name string) *Server {
	for i := range Servers {
		if Servers[i].Name == name {
			return &Servers[i]
		}
	}
	return nil
}
