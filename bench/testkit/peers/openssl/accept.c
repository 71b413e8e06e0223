// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// OpenSSL without DTLSv1_listen, as in many programs: each address gets a socket, a thread and a session with SSL_accept,
// which asks for the cookie itself.
//
// COOKIES: those of session.h, or "none" for no cookie exchange (no SSL_OP_COOKIE_EXCHANGE).

#include "session.h"

int main(int argc, char **argv)
{
	peer_read_arguments(argc, argv);
	SSL_CTX *ctx = session_context();
	if (peer_asked("none"))
		SSL_CTX_clear_options(ctx, SSL_OP_COOKIE_EXCHANGE);
	peer_listen();
	for (;;) {
		struct peer *p = peer_new();
		SSL *ssl = SSL_new(ctx);
		if (!ssl)
			peer_die("session");
		peer_next(p);
		session_take(ssl, p);
		peer_employ(p, session_serve);
	}
}
