// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// wolfSSL: a session reads a datagram, and a callback reports a ClientHello with the right cookie. Cookies depend on the
// sender's address and on the ClientHello. Each datagram gets a new session, because a session has one replay window:
// after a client's record sequence number it would refuse smaller ones of others.
//
// With -DDTLS13 it speaks DTLS 1.3, whose cookies are in HelloRetryRequests; with -DDTLS12 in addition, both.

#include "peer.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#if defined(DTLS13) && defined(DTLS12)
#define METHOD wolfDTLS_server_method
#elif defined(DTLS13)
#define METHOD wolfDTLSv1_3_server_method
#else
#define METHOD wolfDTLSv1_2_server_method
#endif

static WOLFSSL_CTX *context;
static unsigned char secret[PEER_SECRET];
static int verified; // the client whose datagram is processed

static int transmit(WOLFSSL *ssl, char *data, int size, void *p)
{
	ssize_t n = peer_send(p, data, size);
	(void)ssl;
	return n < 0 ? WOLFSSL_CBIO_ERR_GENERAL : (int)n;
}

static int receive(WOLFSSL *ssl, char *to, int size, void *p)
{
	int handshake = !wolfSSL_is_init_finished(ssl);
	ssize_t n = peer_receive(p, to, size, handshake ? 1000 * wolfSSL_dtls_get_current_timeout(ssl) : PEER_PATIENCE);
	if (n < 0 && errno == EAGAIN)
		return ((struct peer *)p)->fd < 0 ? WOLFSSL_CBIO_ERR_WANT_READ : WOLFSSL_CBIO_ERR_TIMEOUT;
	return n < 0 ? WOLFSSL_CBIO_ERR_GENERAL : (int)n;
}

static int good(WOLFSSL *ssl, void *unused)
{
	(void)ssl, (void)unused;
	verified = 1;
	return 0;
}

#ifdef DTLS13
// psk knows the keys of two clients, each of which goes with a suite.
static unsigned psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned max, const char **suite)
{
	(void)ssl;
	if (max < PEER_SECRET)
		return 0;
	memset(key, 0x5a, PEER_SECRET);
	if (!strcmp(identity, "client-sha256"))
		*suite = "TLS13-AES128-GCM-SHA256";
	else if (!strcmp(identity, "client-sha384"))
		*suite = "TLS13-AES256-GCM-SHA384";
	else
		return 0;
	return PEER_SECRET;
}
#endif

static void *serve(void *arg)
{
	struct peer *p = arg;
	WOLFSSL *ssl = p->session;
	char data[PEER_DATAGRAM];
	int n, r;

	while ((r = wolfSSL_accept(ssl)) != WOLFSSL_SUCCESS && wolfSSL_get_error(ssl, r) == WOLFSSL_ERROR_WANT_READ)
		;
	if (r == WOLFSSL_SUCCESS) {
		puts("accepted");
		while ((n = wolfSSL_read(ssl, data, sizeof(data))) > 0)
			wolfSSL_write(ssl, data, n);
		if (wolfSSL_get_error(ssl, n) == WOLFSSL_ERROR_ZERO_RETURN)
			puts("closed");
		wolfSSL_shutdown(ssl);
	} else {
		fprintf(stderr, "handshake: %d\n", wolfSSL_get_error(ssl, r));
	}
	wolfSSL_free(ssl);
	peer_free(p);
	return NULL;
}

static struct peer *ready(void)
{
	struct peer *p = peer_new();
	WOLFSSL *ssl = p->session = wolfSSL_new(context);
	if (!ssl || wolfSSL_DTLS_SetCookieSecret(ssl, secret, sizeof(secret)) || wolfDTLS_SetChGoodCb(ssl, good, NULL) != WOLFSSL_SUCCESS)
		peer_die("session");
#ifdef DTLS13
	if (wolfSSL_send_hrr_cookie(ssl, secret, sizeof(secret)) != WOLFSSL_SUCCESS)
		peer_die("session");
#endif
#ifdef WOLFSSL_DTLS_CH_FRAG // early releases do not have it
	// A post-quantum key exchange does not fit one datagram; the first fragment has the cookie.
	if (wolfSSL_dtls13_allow_ch_frag(ssl, 1) != WOLFSSL_SUCCESS)
		peer_die("session");
#endif
	wolfSSL_SetIOReadCtx(ssl, p);
	wolfSSL_SetIOWriteCtx(ssl, p);
	return p;
}

int main(int argc, char **argv)
{
	peer_read_arguments(argc, argv);
	peer_secret(secret);
	wolfSSL_Init();
	context = wolfSSL_CTX_new(METHOD());
	if (!context)
		peer_die("context");
	if (wolfSSL_CTX_use_certificate_file(context, peer_server.certificate, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_use_PrivateKey_file(context, peer_server.key, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
		peer_die(peer_server.certificate);
#ifdef DTLS13
	wolfSSL_CTX_set_psk_server_tls13_callback(context, psk);
#endif
	wolfSSL_CTX_SetIORecv(context, receive);
	wolfSSL_CTX_SetIOSend(context, transmit);
	peer_listen();
	for (;;) {
		struct peer *p = ready();
		WOLFSSL *ssl = p->session;
		peer_next(p);
		wolfSSL_dtls_set_peer(ssl, &p->address, p->size);
		verified = 0;
		int r = wolfSSL_accept(ssl);
		p->length = 0;
		if (verified && wolfSSL_get_error(ssl, r) == WOLFSSL_ERROR_WANT_READ) {
			peer_employ(p, serve);
			continue;
		}
		wolfSSL_free(ssl);
		peer_free(p);
	}
}
