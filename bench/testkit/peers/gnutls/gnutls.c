// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// GnuTLS, modelled on its manual's DTLS server example: peek at a datagram, verify its cookie or send one. The
// cookie depends on the sender's address as returned by recvfrom(2).

#include "peer.h"

#include <gnutls/dtls.h>
#include <gnutls/gnutls.h>
#include <time.h>

static gnutls_certificate_credentials_t credentials;

static ssize_t push(gnutls_transport_ptr_t p, const void *data, size_t size) { return peer_send(p, data, size); }

static ssize_t pull(gnutls_transport_ptr_t p, void *to, size_t size) { return peer_receive(p, to, size, PEER_PATIENCE); }

static int pull_timeout(gnutls_transport_ptr_t p, unsigned ms) { return peer_wait(p, ms > PEER_PATIENCE ? PEER_PATIENCE : (int)ms); }

static void *serve(void *arg)
{
	struct peer *p = arg;
	gnutls_session_t session = p->session;
	char data[PEER_DATAGRAM];
	ssize_t n;
	int r;

	while ((r = gnutls_handshake(session)) < 0 && !gnutls_error_is_fatal(r))
		;
	if (r == 0) {
		puts("accepted");
		// GNUTLS_E_AGAIN is a timeout, or a handshake message that the client retransmits: a busy machine's does.
		time_t heard = time(NULL);
		while ((n = gnutls_record_recv(session, data, sizeof(data))) != 0 && !gnutls_error_is_fatal(n) &&
		       time(NULL) - heard < PEER_PATIENCE / 1000)
			if (n > 0) {
				gnutls_record_send(session, data, n);
				heard = time(NULL);
			}
		if (n == 0)
			puts("closed");
		gnutls_bye(session, GNUTLS_SHUT_WR);
	} else {
		fprintf(stderr, "handshake: %s\n", gnutls_strerror(r));
	}
	gnutls_deinit(session);
	peer_free(p);
	return NULL;
}

// begin starts an association with a client that has shown its cookie.
static void begin(struct peer *p, gnutls_dtls_prestate_st *state)
{
	gnutls_session_t session;
	if (gnutls_init(&session, GNUTLS_SERVER | GNUTLS_DATAGRAM) < 0 || gnutls_set_default_priority(session) < 0 ||
	    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials) < 0)
		peer_die("session");
	gnutls_dtls_prestate_set(session, state);
	gnutls_dtls_set_mtu(session, PEER_MTU);
	gnutls_transport_set_ptr(session, p);
	gnutls_transport_set_push_function(session, push);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_transport_set_pull_timeout_function(session, pull_timeout);
	p->session = session;
	peer_employ(p, serve);
}

int main(int argc, char **argv)
{
	unsigned char secret[PEER_SECRET];
	gnutls_datum_t key = {secret, sizeof(secret)};
	peer_read_arguments(argc, argv);
	peer_secret(secret);
	if (gnutls_global_init() < 0 || gnutls_certificate_allocate_credentials(&credentials) < 0)
		return 1;
	if (gnutls_certificate_set_x509_key_file(credentials, peer_server.certificate, peer_server.key, GNUTLS_X509_FMT_PEM) < 0)
		peer_die(peer_server.certificate);
	peer_listen();
	for (struct peer *p = peer_new();;) {
		gnutls_dtls_prestate_st state = {0};
		peer_next(p);
		if (gnutls_dtls_cookie_verify(&key, &p->address, p->size, p->datagram, p->length, &state) < 0) {
			gnutls_dtls_cookie_send(&key, &p->address, p->size, &state, p, push);
		} else {
			begin(p, &state);
			p = peer_new();
		}
	}
}
