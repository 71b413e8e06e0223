// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// BoringSSL, which has no cookies at all: each address gets a socket, a thread and a session with SSL_accept.

#include "peer.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

// A BIO over a peer, for the datagram that has already arrived.

static int bio_read(BIO *bio, char *to, int size)
{
	const int tick = 100; // ms; timers are checked at each
	BIO_clear_retry_flags(bio);
	ssize_t n = peer_receive(BIO_get_data(bio), to, size, tick);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	return (int)n;
}

static int bio_write(BIO *bio, const char *data, int size) { return (int)peer_send(BIO_get_data(bio), data, size); }

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

// goes_on reports whether the result n of a call means that nothing has come, and the client has not been silent for ms.
static int goes_on(SSL *ssl, int n, int *silent, int ms)
{
	if (n > 0 || SSL_get_error(ssl, n) != SSL_ERROR_WANT_READ || ++*silent >= ms / 100)
		return 0;
	return DTLSv1_handle_timeout(ssl) >= 0;
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	SSL *ssl = p->session;
	char data[PEER_DATAGRAM];
	int n, silent = 0;

	while (goes_on(ssl, n = SSL_accept(ssl), &silent, PEER_PATIENCE))
		;
	if (n > 0) {
		puts("accepted");
		do {
			silent = 0;
			while (goes_on(ssl, n = SSL_read(ssl, data, sizeof(data)), &silent, PEER_IDLE))
				;
			if (n > 0)
				SSL_write(ssl, data, n);
		} while (n > 0);
		if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN)
			puts("closed");
		SSL_shutdown(ssl);
	}
	ERR_print_errors_fp(stderr);
	SSL_free(ssl);
	peer_free(p);
	return NULL;
}

int main(int argc, char **argv)
{
	peer_read_arguments(argc, argv);
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	BIO_METHOD *method = BIO_meth_new(0, "peer");
	if (!ctx || !method)
		peer_die("context");
	if (SSL_CTX_use_certificate_chain_file(ctx, peer_server.certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, peer_server.key, SSL_FILETYPE_PEM) != 1)
		peer_die(peer_server.certificate);
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
	peer_listen();
	for (;;) {
		struct peer *p = peer_new();
		SSL *ssl = p->session = SSL_new(ctx);
		BIO *bio = BIO_new(method);
		if (!ssl || !bio)
			peer_die("session");
		peer_next(p);
		BIO_set_data(bio, p);
		BIO_set_init(bio, 1);
		SSL_set_mtu(ssl, PEER_MTU);
		SSL_set_bio(ssl, bio, bio);
		peer_employ(p, serve);
	}
}
