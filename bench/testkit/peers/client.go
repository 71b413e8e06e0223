package peers

// Clients are small clients; their arguments are ADDRESS PORT. What comes on their standard input they send, and say
// what comes back.
var Clients = []Program{
	{"mbedtls-client", "Mbed TLS client", "mbedtls/client.c", []string{"-lmbedtls", "-lmbedx509", "-lmbedcrypto"}, "libmbedtls-dev"},
	{"wolfssl-client", "wolfSSL client", "wolfssl/client.c", []string{"-lwolfssl"}, "libwolfssl-dev"},
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
