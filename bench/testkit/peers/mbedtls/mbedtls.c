// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// Mbed TLS, modelled on its sample dtls_server.c: one context takes datagram after datagram, and is reset when it has
// asked for a cookie.
//
// COOKIES: "host" makes cookies depend on the client's address without the port, as in the sample; else they depend on
// both.

#include "peer.h"

#define MBEDTLS_ALLOW_PRIVATE_ACCESS // a handshake's state, private since 3.0

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_cookie.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>

static mbedtls_ssl_config config;
static mbedtls_ctr_drbg_context random_numbers;

struct session {
	mbedtls_ssl_context ssl;
	mbedtls_timing_delay_context timer;
};

static int transmit(void *p, const unsigned char *data, size_t size)
{
	ssize_t n = peer_send(p, data, size);
	return n < 0 ? MBEDTLS_ERR_NET_SEND_FAILED : (int)n;
}

static int receive(void *p, unsigned char *to, size_t size, uint32_t ms)
{
	ssize_t n = peer_receive(p, to, size, ms ? (int)ms : PEER_PATIENCE);
	if (n < 0 && errno == EAGAIN)
		return ((struct peer *)p)->fd < 0 ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_TIMEOUT;
	return n < 0 ? MBEDTLS_ERR_NET_RECV_FAILED : (int)n;
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	struct session *s = p->session;
	unsigned char data[PEER_DATAGRAM];
	int r;

	while ((r = mbedtls_ssl_handshake(&s->ssl)) == MBEDTLS_ERR_SSL_WANT_READ || r == MBEDTLS_ERR_SSL_WANT_WRITE)
		;
	if (r == 0) {
		puts("accepted");
		while ((r = mbedtls_ssl_read(&s->ssl, data, sizeof(data))) > 0)
			mbedtls_ssl_write(&s->ssl, data, r);
		if (r == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
			puts("closed");
		mbedtls_ssl_close_notify(&s->ssl);
	} else {
		fprintf(stderr, "handshake: -0x%04x\n", -r);
	}
	mbedtls_ssl_free(&s->ssl);
	free(s);
	peer_free(p);
	return NULL;
}

static struct peer *ready(void)
{
	struct peer *p = peer_new();
	struct session *s = p->session = calloc(1, sizeof(*s));
	if (!s)
		peer_die("memory");
	mbedtls_ssl_init(&s->ssl);
	if (mbedtls_ssl_setup(&s->ssl, &config))
		peer_die("context");
	mbedtls_ssl_set_bio(&s->ssl, p, transmit, NULL, receive);
	mbedtls_ssl_set_timer_cb(&s->ssl, &s->timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
	return p;
}

static int read_key(mbedtls_pk_context *key, const char *file)
{
#if MBEDTLS_VERSION_MAJOR < 3
	return mbedtls_pk_parse_keyfile(key, file, NULL);
#else
	return mbedtls_pk_parse_keyfile(key, file, NULL, mbedtls_ctr_drbg_random, &random_numbers);
#endif
}

// identify tells the library the sender of the datagram.
static void identify(struct peer *p)
{
	const struct sockaddr_in *v4 = (void *)&p->address;
	const struct sockaddr_in6 *v6 = (void *)&p->address;
	struct session *s = p->session;
	unsigned char id[18] = {0};
	if (p->address.ss_family == AF_INET)
		memcpy(id, &v4->sin_addr, sizeof(v4->sin_addr));
	else
		memcpy(id, &v6->sin6_addr, sizeof(v6->sin6_addr));
	if (!peer_asked("host"))
		memcpy(id + 16, &v4->sin_port, 2); // sin6_port is at the same offset
	if (mbedtls_ssl_set_client_transport_id(&s->ssl, id, sizeof(id)))
		peer_die("client's identity");
}

int main(int argc, char **argv)
{
	static mbedtls_entropy_context entropy;
	static mbedtls_ssl_cookie_ctx cookies;
	static mbedtls_x509_crt certificate;
	static mbedtls_pk_context key;
	peer_read_arguments(argc, argv);
	mbedtls_ssl_config_init(&config);
	mbedtls_ctr_drbg_init(&random_numbers);
	mbedtls_entropy_init(&entropy);
	mbedtls_ssl_cookie_init(&cookies);
	mbedtls_x509_crt_init(&certificate);
	mbedtls_pk_init(&key);
	if (mbedtls_ctr_drbg_seed(&random_numbers, mbedtls_entropy_func, &entropy, NULL, 0) ||
	    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_DATAGRAM, MBEDTLS_SSL_PRESET_DEFAULT) ||
	    mbedtls_ssl_cookie_setup(&cookies, mbedtls_ctr_drbg_random, &random_numbers))
		peer_die("configuration");
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_numbers);
	mbedtls_ssl_conf_dtls_cookies(&config, mbedtls_ssl_cookie_write, mbedtls_ssl_cookie_check, &cookies);
	if (mbedtls_x509_crt_parse_file(&certificate, peer_server.certificate) || read_key(&key, peer_server.key) ||
	    mbedtls_ssl_conf_own_cert(&config, &certificate, &key))
		peer_die(peer_server.certificate);
	peer_listen();
	for (struct peer *p = ready();;) {
		struct session *s = p->session;
		peer_next(p);
		identify(p);
		if (mbedtls_ssl_handshake(&s->ssl) == MBEDTLS_ERR_SSL_WANT_READ && s->ssl.state > MBEDTLS_SSL_CLIENT_HELLO) {
			peer_employ(p, serve);
			p = ready();
			continue;
		}
		p->length = 0;
		if (mbedtls_ssl_session_reset(&s->ssl))
			peer_die("reset");
	}
}
