// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// A DTLS server for tests, one process a client: what a client sends comes back in capitals.
//
//	server ADDRESS PORT CERTIFICATE KEY trust        the verify callback takes every cookie
//	server ADDRESS PORT CERTIFICATE KEY SECRET EPOCH it computes cookie format v1 itself (64 and 2 hex digits)
//
// It prints "ready" once it listens.

#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char secret[32], epoch;
static int trust;

static unsigned char hello[2048]; // the datagram that DTLSv1_listen is about to read
static struct sockaddr_in6 peer;
static int port;

static void die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

// format_v1 computes the cookie of the peeked ClientHello: see package cookie.
static void format_v1(unsigned char cookie[32])
{
	unsigned char m[55] = {1}, tag[32];
	unsigned int n;
	memcpy(m + 1, &peer.sin6_addr, 16);
	memcpy(m + 17, &peer.sin6_port, 2);
	m[19] = port >> 8, m[20] = port;
	memcpy(m + 21, hello + 25, 34); // client_version and random
	HMAC(EVP_sha256(), secret, sizeof(secret), m, sizeof(m), tag, &n);
	cookie[0] = epoch;
	memcpy(cookie + 1, tag, 31);
}

static int verify(SSL *ssl, const unsigned char *cookie, unsigned int len)
{
	unsigned char want[32];
	(void)ssl;
	if (trust)
		return 1;
	format_v1(want);
	return len == sizeof(want) && memcmp(want, cookie, len) == 0;
}

static int generate(SSL *ssl, unsigned char *cookie, unsigned int *len)
{
	(void)ssl;
	format_v1(cookie);
	*len = 32;
	return 1;
}

static void unhex(const char *digits, unsigned char *to, int n)
{
	for (int i = 0; i < n; i++) {
		unsigned int b;
		if (sscanf(digits + 2 * i, "%2x", &b) != 1)
			die("hexadecimal digits");
		to[i] = b;
	}
}

// listener is a socket on the server's port; several may be.
static int listener(const struct sockaddr_in6 *addr)
{
	int fd = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		die("bind");
	return fd;
}

// serve is a client's process: it goes on with the handshake on a socket that is connected to the client.
static void serve(SSL *ssl, const struct sockaddr_in6 *addr, BIO_ADDR *client)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6};
	struct timeval patience = {.tv_sec = 60};
	unsigned char buf[4096];
	int n, fd = listener(addr);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	// Not the peeked address: DTLSv1_listen may have skipped that datagram for the next one.
	to.sin6_port = BIO_ADDR_rawport(client);
	BIO_ADDR_rawaddress(client, &to.sin6_addr, NULL);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		die("connect");
	BIO_set_fd(SSL_get_rbio(ssl), fd, BIO_NOCLOSE);
	BIO_ctrl(SSL_get_rbio(ssl), BIO_CTRL_DGRAM_SET_CONNECTED, 0, client);
	BIO_ctrl(SSL_get_rbio(ssl), BIO_CTRL_DGRAM_SET_RECV_TIMEOUT, 0, &patience);
	if (SSL_accept(ssl) != 1)
		die("accept");
	while ((n = SSL_read(ssl, buf, sizeof(buf))) > 0) {
		for (int i = 0; i < n; i++)
			buf[i] = toupper(buf[i]);
		SSL_write(ssl, buf, n);
	}
	SSL_shutdown(ssl);
	exit(0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6};
	if (argc < 6)
		return 2;
	port = atoi(argv[2]);
	addr.sin6_port = htons(port);
	if (inet_pton(AF_INET6, argv[1], &addr.sin6_addr) != 1)
		die("address");
	trust = strcmp(argv[5], "trust") == 0;
	if (!trust) {
		unhex(argv[5], secret, 32);
		unhex(argv[6], &epoch, 1);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGCHLD, SIG_IGN);
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(ctx, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[4], SSL_FILETYPE_PEM) != 1)
		die("certificate");
	SSL_CTX_set_cookie_generate_cb(ctx, generate);
	SSL_CTX_set_cookie_verify_cb(ctx, verify);
	int fd = listener(&addr);
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	fcntl(fd, F_SETFL, O_NONBLOCK); // DTLSv1_listen would go on waiting, for a datagram that was not peeked at
	printf("ready\n");
	for (;;) {
		socklen_t len = sizeof(peer);
		poll(&readable, 1, -1);
		if (recvfrom(fd, hello, sizeof(hello), MSG_PEEK, (struct sockaddr *)&peer, &len) < 0)
			continue;
		SSL *ssl = SSL_new(ctx);
		BIO *bio = BIO_new_dgram(fd, BIO_NOCLOSE);
		BIO_ADDR *client = BIO_ADDR_new();
		SSL_set_bio(ssl, bio, bio);
		if (DTLSv1_listen(ssl, client) > 0 && fork() == 0)
			serve(ssl, &addr, client);
		BIO_ADDR_free(client);
		SSL_free(ssl);
		ERR_clear_error();
	}
}
