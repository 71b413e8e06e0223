// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// Shared code of both OpenSSL servers: the context with the cookie callbacks, and the thread of a client.
//
// COOKIES: "trust" accepts any cookie. Else they are an HMAC-SHA256 over the client's address and port; with "timed" they
// have the time and an HMAC over both, and are accepted for 5 seconds, as in radsecproxy.

#ifndef SESSION_H
#define SESSION_H

#include "peer.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <time.h>

#define SESSION_COOKIE 20 // bytes: unlike dtlsguard's own, so that tests can tell them apart

static unsigned char session_secret[PEER_SECRET];

// session_cookie computes the cookie of a client at a time, 0 for cookies without a clock.
static int session_cookie(SSL *ssl, time_t when, unsigned char *cookie, unsigned *len)
{
	struct {
		long long when;
		unsigned short port;
		unsigned char address[16];
	} of;
	memset(&of, 0, sizeof(of)); // padding included
	of.when = when;
	BIO_ADDR *a = BIO_ADDR_new();
	int ok = a && BIO_dgram_get_peer(SSL_get_rbio(ssl), a) > 0 && BIO_ADDR_rawaddress(a, of.address, NULL);
	if (ok) {
		of.port = BIO_ADDR_rawport(a);
		unsigned stamp = when ? sizeof(of.when) : 0;
		memcpy(cookie, &of.when, stamp);
		ok = HMAC(EVP_sha256(), session_secret, sizeof(session_secret), (void *)&of, sizeof(of), cookie + stamp, len) != NULL;
		*len = when ? stamp + *len : SESSION_COOKIE;
	}
	BIO_ADDR_free(a);
	return ok;
}

static int session_generate(SSL *ssl, unsigned char *cookie, unsigned *len)
{
	return session_cookie(ssl, peer_asked("timed") ? time(NULL) : 0, cookie, len);
}

static int session_verify(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	const int life = 5; // s
	unsigned char want[EVP_MAX_MD_SIZE];
	unsigned size;
	long long when = 0;
	if (peer_asked("trust"))
		return 1;
	if (peer_asked("timed")) {
		if (len < sizeof(when))
			return 0;
		memcpy(&when, cookie, sizeof(when));
		if (when < time(NULL) - life || when > time(NULL))
			return 0;
	}
	return session_cookie(ssl, when, want, &size) && size == len && CRYPTO_memcmp(want, cookie, len) == 0;
}

// session_context creates the context of all sessions.
static SSL_CTX *session_context(void)
{
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	peer_secret(session_secret);
	if (!ctx)
		peer_die("context");
	if (SSL_CTX_use_certificate_chain_file(ctx, peer_server.certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, peer_server.key, SSL_FILETYPE_PEM) != 1)
		peer_die(peer_server.certificate);
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"peer", 4);
	SSL_CTX_set_cookie_generate_cb(ctx, session_generate);
	SSL_CTX_set_cookie_verify_cb(ctx, session_verify);
	SSL_CTX_set_options(ctx, SSL_OP_COOKIE_EXCHANGE);
	return ctx;
}

// A BIO over a peer, for the datagram that has already arrived.

static int session_read(BIO *bio, char *to, int size)
{
	const int tick = 100; // ms; the library checks its timers at each
	BIO_clear_retry_flags(bio);
	ssize_t n = peer_receive(BIO_get_data(bio), to, size, tick);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	return (int)n;
}

static int session_write(BIO *bio, const char *data, int size) { return (int)peer_send(BIO_get_data(bio), data, size); }

static long session_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	const struct peer *p = BIO_get_data(bio);
	const struct sockaddr_in *v4 = (void *)&p->address;
	const struct sockaddr_in6 *v6 = (void *)&p->address;
	(void)num;
	if (cmd != BIO_CTRL_DGRAM_GET_PEER)
		return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT;
	if (v4->sin_family == AF_INET)
		return BIO_ADDR_rawmake(ptr, AF_INET, &v4->sin_addr, sizeof(v4->sin_addr), v4->sin_port);
	return BIO_ADDR_rawmake(ptr, AF_INET6, &v6->sin6_addr, sizeof(v6->sin6_addr), v6->sin6_port);
}

// session_take makes ssl read from p and write to it.
static void session_take(SSL *ssl, struct peer *p)
{
	static BIO_METHOD *method;
	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "peer");
		BIO_meth_set_read(method, session_read);
		BIO_meth_set_write(method, session_write);
		BIO_meth_set_ctrl(method, session_ctrl);
	}
	BIO *bio = BIO_new(method);
	BIO_set_data(bio, p);
	BIO_set_init(bio, 1);
	SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU); // the BIO does not know the MTU
	SSL_set_mtu(ssl, PEER_MTU);
	SSL_set_bio(ssl, bio, bio);
	p->session = ssl;
}

// session_goes_on reports whether the result n of a call means that nothing has come, and the client has not been silent for ms.
static int session_goes_on(SSL *ssl, int n, int *silent, int ms)
{
	return n <= 0 && SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ && ++*silent < ms / 100; // ticks
}

// session_serve runs in a thread: it does the handshake and echoes.
static void *session_serve(void *arg)
{
	struct peer *p = arg;
	SSL *ssl = p->session;
	char data[PEER_DATAGRAM];
	int n, silent = 0;

	while (session_goes_on(ssl, n = SSL_accept(ssl), &silent, PEER_PATIENCE))
		;
	if (n > 0) {
		printf("accepted%s\n", SSL_session_reused(ssl) ? " again" : "");
		do {
			silent = 0;
			while (session_goes_on(ssl, n = SSL_read(ssl, data, sizeof(data)), &silent, PEER_IDLE))
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

#endif
