// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// A client on wolfSSL, modelled on its example client-dtls.c.

#include "client.h"

#include <fcntl.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

// With -DPSK it has a pre-shared key of DTLS 1.3, with -DRESUME a session that it resumes.

#if defined(DTLS13) && defined(DTLS12)
#define METHOD wolfDTLS_client_method
#elif defined(DTLS13)
#define METHOD wolfDTLSv1_3_client_method
#else
#define METHOD wolfDTLSv1_2_client_method
#endif

static WOLFSSL *ssl;
static int fd;

static int transmit(const void *data, int size) { return wolfSSL_write(ssl, data, size); }

static int receive(void *to, int size)
{
	if (!wolfSSL_pending(ssl) && !client_ready(fd, 0))
		return 0;
	int n = wolfSSL_read(ssl, to, size);
	return n > 0 ? n : wolfSSL_get_error(ssl, n) == WOLFSSL_ERROR_WANT_READ ? 0 : -1;
}

#ifdef PSK
static unsigned psk(WOLFSSL *s, const char *hint, char *identity, unsigned identity_max, unsigned char *key, unsigned max, const char **suite)
{
	(void)s, (void)hint;
	if (max < 32 || identity_max < 16)
		return 0;
	strcpy(identity, "client-sha256");
	memset(key, 0x5a, 32);
	*suite = "TLS13-AES128-GCM-SHA256";
	return 32;
}
#endif

// begin makes a session on fd, of an earlier one if there is one, and shakes hands.
static void begin(WOLFSSL_CTX *context, WOLFSSL_SESSION *earlier)
{
	ssl = wolfSSL_new(context);
	if (!ssl || wolfSSL_set_fd(ssl, fd) != WOLFSSL_SUCCESS || (earlier && wolfSSL_set_session(ssl, earlier) != WOLFSSL_SUCCESS))
		client_die("session", 0);
	int r = wolfSSL_connect(ssl);
	if (r != WOLFSSL_SUCCESS)
		client_die("handshake", wolfSSL_get_error(ssl, r));
	// DTLS 1.3 sends other records after its handshake: a read must not wait for data that does not come.
	fcntl(fd, F_SETFL, O_NONBLOCK);
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
}

#ifdef RESUME
// ticket waits for one, and ends its session.
static WOLFSSL_SESSION *ticket(void)
{
	char byte;
	for (int i = 0; i < 100 && !wolfSSL_SESSION_has_ticket(wolfSSL_get_session(ssl)); i++) {
		client_ready(fd, 50);
		receive(&byte, 1);
	}
	WOLFSSL_SESSION *s = wolfSSL_get1_session(ssl);
	wolfSSL_shutdown(ssl);
	wolfSSL_free(ssl);
	return s;
}
#endif

int main(int argc, char **argv)
{
	fd = client_connect(argc, argv);
	wolfSSL_Init();
	WOLFSSL_CTX *context = wolfSSL_CTX_new(METHOD());
	if (!context)
		client_die("context", 0);
#ifdef PSK
	wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_PEER, NULL); // no CA is loaded: only the pre-shared key is accepted
#else
	wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
#endif
#ifdef PSK
	wolfSSL_CTX_set_psk_client_tls13_callback(context, psk);
#endif
	begin(context, NULL);
#ifdef RESUME
	WOLFSSL_SESSION *session = ticket();
	fd = client_connect(argc, argv);
	begin(context, session);
	if (!wolfSSL_session_reused(ssl))
		client_die("session was not resumed", 0);
#endif
	client_converse(fd, transmit, receive);
	wolfSSL_shutdown(ssl);
	return 0;
}
