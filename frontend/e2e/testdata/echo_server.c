/* A DTLS echo server of many clients at a time, on OpenSSL as its manual has it: DTLSv1_listen does the cookie
 * exchange, then each client gets a connected socket and a thread.
 *
 *     echo_server HOST PORT CERT KEY harvest|trust
 *
 * harvest: cookies are an HMAC over the peer's address and port. trust: any cookie is taken.
 * Copyright The dtlsguard Authors. SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char key[32];
static int trust;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int make_cookie(SSL *ssl, unsigned char *cookie, unsigned int *len)
{
	union {
		struct sockaddr_storage ss;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer = { 0 };
	unsigned char m[18];

	BIO_dgram_get_peer(SSL_get_rbio(ssl), &peer);
	memset(m, 0, sizeof m);
	if (peer.ss.ss_family == AF_INET) {
		memcpy(m, &peer.in.sin_port, 2);
		memcpy(m + 2, &peer.in.sin_addr, 4);
	} else {
		memcpy(m, &peer.in6.sin6_port, 2);
		memcpy(m + 2, &peer.in6.sin6_addr, 16);
	}
	return HMAC(EVP_sha256(), key, sizeof key, m, sizeof m, cookie, len) != NULL;
}

static int check_cookie(SSL *ssl, const unsigned char *cookie, unsigned int len)
{
	unsigned char want[EVP_MAX_MD_SIZE];
	unsigned int n;

	return trust || (make_cookie(ssl, want, &n) && n == len && memcmp(want, cookie, n) == 0);
}

/* A socket at the server's address. Several may be there: the kernel prefers the one that is connected to a
 * datagram's sender. */
static int open_socket(const struct sockaddr *addr, socklen_t len)
{
	int on = 1, fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(fd, addr, len))
		die("socket");
	return fd;
}

static void *serve(void *arg)
{
	SSL *ssl = arg;
	struct timeval wait = { 30, 0 }; /* a client that has gone silent */
	char buf[2048];
	int n;

	setsockopt(SSL_get_fd(ssl), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	while ((n = SSL_accept(ssl)) <= 0)
		if (SSL_get_error(ssl, n) != SSL_ERROR_WANT_READ)
			goto out;
	printf("accepted%s\n", SSL_session_reused(ssl) ? " again" : "");
	while ((n = SSL_read(ssl, buf, sizeof buf)) > 0)
		SSL_write(ssl, buf, n);
	if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN)
		printf("closed\n");
	SSL_shutdown(ssl);
out:
	ERR_clear_error();
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
	return NULL;
}

static void start(SSL *ssl, const BIO_ADDR *client, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = BIO_ADDR_rawport(client) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = BIO_ADDR_rawport(client) };
	int v4 = addr->sa_family == AF_INET, fd = open_socket(addr, len);
	struct sockaddr *peer = v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
	char junk[1];
	BIO *bio;
	pthread_t thread;

	BIO_ADDR_rawaddress(client, v4 ? (void *)&in.sin_addr : (void *)&in6.sin6_addr, NULL);
	if (connect(fd, peer, len))
		die("connect");
	/* What other clients sent between bind and connect came here; they will send it again. */
	while (recv(fd, junk, sizeof junk, MSG_DONTWAIT) >= 0)
		;
	bio = BIO_new_dgram(fd, BIO_NOCLOSE);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, peer);
	SSL_set_bio(ssl, bio, bio);
	if (pthread_create(&thread, NULL, serve, ssl) || pthread_detach(thread))
		die("thread");
}

static SSL_CTX *context(const char *cert, const char *private_key)
{
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());

	if (SSL_CTX_use_certificate_chain_file(ctx, cert) <= 0 ||
	    SSL_CTX_use_PrivateKey_file(ctx, private_key, SSL_FILETYPE_PEM) <= 0) {
		ERR_print_errors_fp(stderr);
		exit(1);
	}
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"echo", 4);
	SSL_CTX_set_cookie_generate_cb(ctx, make_cookie);
	SSL_CTX_set_cookie_verify_cb(ctx, check_cookie);
	return ctx;
}

int main(int argc, char **argv)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr *addr = (struct sockaddr *)&in6;
	socklen_t len = sizeof in6;
	SSL_CTX *ctx;
	int fd;

	if (argc != 6) {
		fprintf(stderr, "usage: %s HOST PORT CERT KEY harvest|trust\n", argv[0]);
		return 2;
	}
	in.sin_port = in6.sin6_port = htons(atoi(argv[2]));
	if (inet_pton(AF_INET, argv[1], &in.sin_addr) == 1) {
		addr = (struct sockaddr *)&in;
		len = sizeof in;
	} else if (inet_pton(AF_INET6, argv[1], &in6.sin6_addr) != 1) {
		die(argv[1]);
	}
	trust = !strcmp(argv[5], "trust");
	RAND_bytes(key, sizeof key);
	setvbuf(stdout, NULL, _IOLBF, 0);
	ctx = context(argv[3], argv[4]);
	fd = open_socket(addr, len);
	printf("serving\n");
	for (;;) {
		SSL *ssl = SSL_new(ctx);
		BIO_ADDR *client = BIO_ADDR_new();
		BIO *bio = BIO_new_dgram(fd, BIO_NOCLOSE);

		SSL_set_bio(ssl, bio, bio);
		SSL_set_options(ssl, SSL_OP_COOKIE_EXCHANGE);
		while (DTLSv1_listen(ssl, client) <= 0)
			ERR_clear_error();
		start(ssl, client, addr, len);
		BIO_ADDR_free(client);
	}
}
