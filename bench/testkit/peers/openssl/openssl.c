// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// OpenSSL, modelled on DTLSv1_listen(3), which does the cookie exchange; then each client gets a connected socket.
//
// COOKIES: those of session.h.

#include "session.h"

// begin starts an association with a client that has presented a valid cookie, unless it has one: its repeated ClientHello
// may have come before its socket.
static void begin(SSL *ssl, const BIO_ADDR *client)
{
	struct peer *p = peer_new();
	struct sockaddr_in *v4 = (void *)&p->address;
	struct sockaddr_in6 *v6 = (void *)&p->address;
	p->size = peer_server.size;
	p->address.ss_family = BIO_ADDR_family(client);
	v4->sin_port = BIO_ADDR_rawport(client); // sin6_port is at the same offset
	BIO_ADDR_rawaddress(client, p->address.ss_family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr, NULL);
	if (peer_is_employed(p)) {
		SSL_free(ssl);
		peer_free(p);
		return;
	}
	session_take(ssl, p);
	peer_connect(p);
	peer_collect(p->fd, p, PEER_QUEUED);
	peer_start(p, session_serve);
}

static SSL *ready(SSL_CTX *ctx)
{
	SSL *ssl = SSL_new(ctx);
	BIO *bio = BIO_new_dgram(peer_server.fd, BIO_NOCLOSE);
	if (!ssl || !bio)
		peer_die("session");
	SSL_set_bio(ssl, bio, bio);
	return ssl;
}

int main(int argc, char **argv)
{
	peer_read_arguments(argc, argv);
	SSL_CTX *ctx = session_context();
	BIO_ADDR *client = BIO_ADDR_new();
	if (!client)
		peer_die("memory");
	peer_listen();
	for (SSL *ssl = ready(ctx);;) { // returns on a valid cookie or an error, and answers until then
		if (DTLSv1_listen(ssl, client) > 0) {
			begin(ssl, client);
			ssl = ready(ctx);
		}
		ERR_clear_error();
	}
}
