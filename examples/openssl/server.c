// SPDX-License-Identifier: Apache-2.0. Copyright The dtlsguard Authors

// A DTLS server on OpenSSL that shares its cookie secrets with dtlsguard and verifies the cookies itself:
// DTLSv1_listen with cookie callbacks, then a thread per client, which echoes the client's data.
//
//	cc -o server server.c -lssl -lcrypto -lpthread
//	./server ADDRESS PORT CERTIFICATE KEY SECRETFILE
//
// Behind a proxy:  dtlsguard run --listen :4433 --backend ADDRESS:PORT --handoff native-hmac --secret-file SECRETFILE
// Inline:          dtlsguard run --protect ADDRESS:PORT --interface eth0 --handoff native-hmac --secret-file SECRETFILE
//
// It prints "accepted" and "closed" for each client.

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "../dtlsguard_cookie.h"

enum { HELLO_AT = 25, HELLO = 34 }; // client_version and random, in a datagram that begins with a ClientHello

static struct sockaddr_storage address;
static socklen_t address_size;
static unsigned port;

struct client {
	SSL *ssl;
	int fd;
	struct sockaddr_storage peer;
	unsigned char hello[HELLO]; // of its latest ClientHello
};

static void die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void hmac(const unsigned char key[DTLSGUARD_SECRET], const void *message, size_t length, unsigned char tag[32])
{
	HMAC(EVP_sha256(), key, DTLSGUARD_SECRET, message, length, tag, NULL);
}

static struct dtlsguard_secrets secrets = {.hmac = hmac};

// look copies from each ClientHello that OpenSSL reads what its cookie depends on, since DTLSv1_listen does not pass it on.
static long look(BIO *bio, int oper, const char *data, size_t len, int argi, long argl, int ret, size_t *processed)
{
	struct client *c = (void *)BIO_get_callback_arg(bio);
	(void)len, (void)argi, (void)argl;
	if (oper == (BIO_CB_READ | BIO_CB_RETURN) && ret > 0 && processed && *processed >= HELLO_AT + HELLO && data[0] == 22 &&
	    data[13] == 1 && !data[19] && !data[20] && !data[21]) // a handshake message, a ClientHello, at fragment offset 0
		memcpy(c->hello, data + HELLO_AT, HELLO);
	return ret;
}

// peer_of returns the client with the sender of OpenSSL's datagram.
static struct client *peer_of(SSL *ssl)
{
	struct client *c = SSL_get_app_data(ssl);
	BIO_dgram_get_peer(SSL_get_rbio(ssl), &c->peer);
	return c;
}

static int verify(SSL *ssl, const unsigned char *cookie, unsigned length)
{
	struct client *c = peer_of(ssl);
	return dtlsguard_verify(&secrets, (struct sockaddr *)&c->peer, port, c->hello, cookie, length);
}

// generate issues cookies to clients that bypass dtlsguard, and to dtlsguard's own probes.
static int generate(SSL *ssl, unsigned char *cookie, unsigned *length)
{
	struct client *c = peer_of(ssl);
	unsigned char tag[32];
	dtlsguard_tag(&secrets, 0, (struct sockaddr *)&c->peer, port, c->hello, tag);
	cookie[0] = 0;
	memcpy(cookie + 1, tag, DTLSGUARD_COOKIE - 1);
	*length = DTLSGUARD_COOKIE;
	return 1;
}

// open_socket opens a socket at the server's address. The kernel prefers the socket connected to the sender.
static int open_socket(void)
{
	int on = 1, fd = socket(address.ss_family, SOCK_DGRAM, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(fd, (struct sockaddr *)&address, address_size))
		die("bind");
	return fd;
}

static void *serve(void *arg)
{
	struct client *c = arg;
	char text[2048];
	int n;
	if (SSL_accept(c->ssl) == 1) {
		puts("accepted");
		while ((n = SSL_read(c->ssl, text, sizeof(text))) > 0)
			SSL_write(c->ssl, text, n);
		SSL_shutdown(c->ssl);
		puts("closed");
	}
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
	return NULL;
}

// start gives a client with a valid cookie a socket and a thread.
static void start(struct client *c)
{
	struct timeval patience = {.tv_sec = 60};
	BIO *bio = SSL_get_rbio(c->ssl);
	pthread_t thread;
	c->fd = open_socket();
	if (connect(c->fd, (struct sockaddr *)&c->peer, address_size))
		die("connect");
	BIO_set_callback_ex(bio, NULL);
	BIO_set_fd(bio, c->fd, BIO_NOCLOSE);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &c->peer);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_RECV_TIMEOUT, 0, &patience);
	if (pthread_create(&thread, NULL, serve, c) || pthread_detach(thread))
		die("thread");
}

static void parse_address(const char *host, const char *service)
{
	struct sockaddr_in *v4 = (void *)&address;
	struct sockaddr_in6 *v6 = (void *)&address;
	port = atoi(service);
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1)
		v4->sin_family = AF_INET, address_size = sizeof(*v4);
	else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1)
		v6->sin6_family = AF_INET6, address_size = sizeof(*v6);
	else
		die(host);
	v4->sin_port = htons(port); // sin6_port is at the same offset
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: %s ADDRESS PORT CERTIFICATE KEY SECRETFILE\n", argv[0]);
		return 2;
	}
	parse_address(argv[1], argv[2]);
	secrets.path = argv[5];
	if (dtlsguard_read(&secrets))
		die(secrets.path);
	setvbuf(stdout, NULL, _IOLBF, 0);
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(ctx, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[4], SSL_FILETYPE_PEM) != 1)
		die("certificate");
	SSL_CTX_set_cookie_generate_cb(ctx, generate);
	SSL_CTX_set_cookie_verify_cb(ctx, verify);
	SSL_CTX_set_options(ctx, SSL_OP_COOKIE_EXCHANGE);
	BIO_ADDR *sender = BIO_ADDR_new(); // required by DTLSv1_listen; the callbacks have the address as a sockaddr
	for (int fd = open_socket(), r;;) {
		struct client *c = calloc(1, sizeof(*c));
		BIO *bio = BIO_new_dgram(fd, BIO_NOCLOSE);
		c->ssl = SSL_new(ctx);
		SSL_set_app_data(c->ssl, c);
		SSL_set_bio(c->ssl, bio, bio);
		BIO_set_callback_ex(bio, look);
		BIO_set_callback_arg(bio, (char *)c);
		while ((r = DTLSv1_listen(c->ssl, sender)) == 0)
			;
		if (r > 0) {
			start(c);
			continue;
		}
		ERR_clear_error();
		SSL_free(c->ssl);
		free(c);
	}
}
