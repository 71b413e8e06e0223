// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// A client on Mbed TLS, modelled on its sample dtls_client.c.

#include "client.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>

static mbedtls_ssl_context ssl;
static mbedtls_net_context net;

static int transmit(const void *data, int size) { return mbedtls_ssl_write(&ssl, data, size); }

static int receive(void *to, int size)
{
	if (!mbedtls_ssl_check_pending(&ssl) && !client_ready(net.fd, 0))
		return 0;
	int n = mbedtls_ssl_read(&ssl, to, size);
	return n > 0 ? n : n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_TIMEOUT ? 0 : -1;
}

int main(int argc, char **argv)
{
	static mbedtls_ssl_config config;
	static mbedtls_entropy_context entropy;
	static mbedtls_ctr_drbg_context random_numbers;
	static mbedtls_timing_delay_context timer;
	const int give_up = 100; // ms; everything in a datagram is available at once
	int r;
	net.fd = client_connect(argc, argv);
	mbedtls_ssl_init(&ssl);
	mbedtls_ssl_config_init(&config);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random_numbers);
	if ((r = mbedtls_ctr_drbg_seed(&random_numbers, mbedtls_entropy_func, &entropy, NULL, 0)) ||
	    (r = mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM, MBEDTLS_SSL_PRESET_DEFAULT)))
		client_die("configuration", r);
	mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_numbers);
	mbedtls_ssl_conf_read_timeout(&config, give_up);
	if ((r = mbedtls_ssl_setup(&ssl, &config)))
		client_die("context", r);
	mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
	mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
	while ((r = mbedtls_ssl_handshake(&ssl)))
		if (r != MBEDTLS_ERR_SSL_WANT_READ && r != MBEDTLS_ERR_SSL_WANT_WRITE)
			client_die("handshake", r);
	client_converse(net.fd, transmit, receive);
	return mbedtls_ssl_close_notify(&ssl) != 0;
}
