// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// OpenSSL as DTLSv1_listen(3) has it: it does the cookie exchange, then each client gets a connected socket.
//
// COOKIES: "trust" takes any cookie; else they are an HMAC-SHA256 over the client's address and port.

#include "peer.h"

#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>

static unsigned char secret[PEER_SECRET];
static int trust;

static int generate(SSL *ssl, unsigned char *cookie, unsigned *len)
{
	struct {
		unsigned short port;
		unsigned char address[16];
	} peer = {0};
	BIO_ADDR *a = BIO_ADDR_new();
	int ok = a && BIO_dgram_get_peer(SSL_get_rbio(ssl), a) > 0 && BIO_ADDR_rawaddress(a, peer.address, NULL);
	if (ok) {
		peer.port = BIO_ADDR_rawport(a);
		ok = HMAC(EVP_sha256(), secret, sizeof(secret), (void *)&peer, sizeof(peer), cookie, len) != NULL;
	}
	BIO_ADDR_free(a);
	return ok;
}

static int verify(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	unsigned char want[EVP_MAX_MD_SIZE];
	unsigned size;
	return trust || (generate(ssl, want, &size) && size == len && CRYPTO_memcmp(want, cookie, len) == 0);
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	struct timeval patience = {PEER_PATIENCE / 1000, 0};
	SSL *ssl = p->session;
	char data[PEER_DATAGRAM];
	int n;

	setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while ((n = SSL_accept(ssl)) <= 0 && SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ)
		;
	if (n > 0) {
		printf("accepted%s\n", SSL_session_reused(ssl) ? " again" : "");
		while ((n = SSL_read(ssl, data, sizeof(data))) > 0)
			SSL_write(ssl, data, n);
		if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN)
			puts("closed");
		SSL_shutdown(ssl);
	}
	ERR_print_errors_fp(stderr);
	SSL_free(ssl);
	peer_free(p);
	return NULL;
}

// begin starts an association with who has shown its cookie.
static void begin(SSL *ssl, const BIO_ADDR *client)
{
	struct peer *p = peer_new();
	struct sockaddr_in *v4 = (void *)&p->address;
	struct sockaddr_in6 *v6 = (void *)&p->address;
	p->size = peer_server.size;
	p->address.ss_family = BIO_ADDR_family(client);
	v4->sin_port = BIO_ADDR_rawport(client); // sin6_port is at the same place
	BIO_ADDR_rawaddress(client, p->address.ss_family == AF_INET ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr, NULL);
	p->session = ssl;
	peer_connect(p);
	BIO *bio = BIO_new_dgram(p->fd, BIO_NOCLOSE);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &p->address);
	SSL_set_bio(ssl, bio, bio);
	peer_start(p, serve);
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
	peer_secret(secret);
	trust = peer_asked("trust");
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	BIO_ADDR *client = BIO_ADDR_new();
	if (!ctx || !client)
		peer_die("context");
	if (SSL_CTX_use_certificate_chain_file(ctx, peer_server.certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, peer_server.key, SSL_FILETYPE_PEM) != 1)
		peer_die(peer_server.certificate);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"peer", 4);
	SSL_CTX_set_cookie_generate_cb(ctx, generate);
	SSL_CTX_set_cookie_verify_cb(ctx, verify);
	SSL_CTX_set_options(ctx, SSL_OP_COOKIE_EXCHANGE);
	peer_listen();
	for (SSL *ssl = ready(ctx);;) { // it returns for a valid cookie or an error; in between it answers
		if (DTLSv1_listen(ssl, client) > 0) {
			begin(ssl, client);
			ssl = ready(ctx);
		}
		ERR_clear_error();
	}
}
