// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// OpenSSL without DTLSv1_listen: each address that sends something gets a socket, a thread and a session with
// SSL_accept, which asks for the cookie itself. Many programs are built like this.
//
// COOKIES: "trust" takes any cookie, "none" does not ask for one (no SSL_OP_COOKIE_EXCHANGE); else they are an
// HMAC-SHA256 over the client's address and port.

#include "peer.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>

static unsigned char secret[PEER_SECRET];
static int trust;

static int generate(SSL *ssl, unsigned char *cookie, unsigned *len)
{
	struct peer *p = SSL_get_app_data(ssl);
	return HMAC(EVP_sha256(), secret, sizeof(secret), (void *)&p->address, p->size, cookie, len) != NULL;
}

static int verify(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	unsigned char want[EVP_MAX_MD_SIZE];
	unsigned size;
	return trust || (generate(ssl, want, &size) && size == len && CRYPTO_memcmp(want, cookie, len) == 0);
}

// A BIO over a peer, for the datagram that has come already.

static int bio_read(BIO *bio, char *to, int size)
{
	const int tick = 100; // ms; the library asks for its timers at each
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
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT;
}

static BIO *peer_bio(struct peer *p)
{
	static BIO_METHOD *method;
	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "peer");
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	BIO *bio = BIO_new(method);
	BIO_set_data(bio, p);
	BIO_set_init(bio, 1);
	return bio;
}

// goes_on reports whether the result n of a call is that nothing has come, too seldom to give the client up.
static int goes_on(SSL *ssl, int n, int *silent)
{
	const int most = PEER_PATIENCE / 100; // ticks
	return n <= 0 && SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ && ++*silent < most;
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	SSL *ssl = p->session;
	char data[PEER_DATAGRAM];
	int n, silent = 0;

	while (goes_on(ssl, n = SSL_accept(ssl), &silent))
		;
	if (n > 0) {
		printf("accepted%s\n", SSL_session_reused(ssl) ? " again" : "");
		do {
			silent = 0;
			while (goes_on(ssl, n = SSL_read(ssl, data, sizeof(data)), &silent))
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
	peer_secret(secret);
	trust = peer_asked("trust");
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	if (!ctx)
		peer_die("context");
	if (SSL_CTX_use_certificate_chain_file(ctx, peer_server.certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, peer_server.key, SSL_FILETYPE_PEM) != 1)
		peer_die(peer_server.certificate);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"peer", 4);
	SSL_CTX_set_cookie_generate_cb(ctx, generate);
	SSL_CTX_set_cookie_verify_cb(ctx, verify);
	SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU | (peer_asked("none") ? 0 : SSL_OP_COOKIE_EXCHANGE));
	peer_listen();
	for (;;) {
		struct peer *p = peer_new();
		SSL *ssl = p->session = SSL_new(ctx);
		if (!ssl)
			peer_die("session");
		peer_next(p);
		SSL_set_app_data(ssl, p);
		SSL_set_mtu(ssl, PEER_MTU);
		BIO *bio = peer_bio(p);
		SSL_set_bio(ssl, bio, bio);
		peer_employ(p, serve);
	}
}
