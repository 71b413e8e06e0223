// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// A client on wolfSSL, modelled on its example client-dtls.c.

#include "client.h"

#include <fcntl.h>

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

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

int main(int argc, char **argv)
{
	fd = client_connect(argc, argv);
	wolfSSL_Init();
	WOLFSSL_CTX *context = wolfSSL_CTX_new(METHOD());
	if (!context)
		client_die("context", 0);
	wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
	ssl = wolfSSL_new(context);
	if (!ssl || wolfSSL_set_fd(ssl, fd) != WOLFSSL_SUCCESS)
		client_die("session", 0);
	int r = wolfSSL_connect(ssl);
	if (r != WOLFSSL_SUCCESS)
		client_die("handshake", wolfSSL_get_error(ssl, r));
	// DTLS 1.3 sends other records after its handshake: a read must not wait for data that does not come.
	fcntl(fd, F_SETFL, O_NONBLOCK);
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
	client_converse(fd, transmit, receive);
	wolfSSL_shutdown(ssl);
	return 0;
}
