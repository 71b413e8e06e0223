// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// OpenSSL as DTLSv1_listen(3) has it: one socket, a cookie of HMAC-SHA256 over the peer's address and port.
//
// usage: openssl ADDRESS PORT

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static unsigned char secret[32];

static int generate(SSL *ssl, unsigned char *cookie, unsigned *len)
{
	struct {
		unsigned short port;
		unsigned char address[16];
	} peer = {};
	size_t size = sizeof(peer.address);
	BIO_ADDR *a = BIO_ADDR_new();
	int ok = a && BIO_dgram_get_peer(SSL_get_rbio(ssl), a) > 0 && BIO_ADDR_rawaddress(a, peer.address, &size);
	if (ok) {
		peer.port = BIO_ADDR_rawport(a);
		ok = HMAC(EVP_sha256(), secret, sizeof(secret), (void *)&peer, sizeof(peer), cookie, len) != NULL;
	}
	BIO_ADDR_free(a);
	return ok;
}

static int verify(SSL *ssl, const unsigned char *cookie, unsigned len)
{
	unsigned char want[EVP_MAX_MD_SIZE];
	unsigned size;
	return generate(ssl, want, &size) && size == len && CRYPTO_memcmp(want, cookie, len) == 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in here = {.sin_family = AF_INET};
	if (argc != 3 || inet_pton(AF_INET, argv[1], &here.sin_addr) != 1)
		return 2;
	here.sin_port = htons(atoi(argv[2]));
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	if (!ctx || RAND_bytes(secret, sizeof(secret)) != 1)
		return 1;
	SSL_CTX_set_cookie_generate_cb(ctx, generate);
	SSL_CTX_set_cookie_verify_cb(ctx, verify);
	// Only now: who listens is ready.
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	int room = 8 << 20; // for the datagrams of some slices of the CPU: the default of 208 KB holds 50 from a driver's pages
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof(here))) {
		perror("bind");
		return 1;
	}
	SSL *ssl = SSL_new(ctx);
	BIO *bio = BIO_new_dgram(s, BIO_NOCLOSE);
	BIO_ADDR *client = BIO_ADDR_new();
	if (!ssl || !bio || !client)
		return 1;
	SSL_set_bio(ssl, bio, bio);
	SSL_set_options(ssl, SSL_OP_COOKIE_EXCHANGE);
	for (;;) { // it returns for a valid cookie or an error; in between it answers
		DTLSv1_listen(ssl, client);
		ERR_clear_error();
	}
}
