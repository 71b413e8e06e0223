// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// A DTLS server for tests: any number of clients, a thread each, and what a client sends comes back.
//
//	server ADDRESS PORT CERTIFICATE KEY trust        its verify callback takes every cookie
//	server ADDRESS PORT CERTIFICATE KEY address      its cookies are its own, of the client's address and port
//	server ADDRESS PORT CERTIFICATE KEY SECRETFILE   it verifies cookies of format v1 (package cookie) itself,
//	                                                 with the secrets of dtlsguard's --secret-file
//
// It prints "ready" once it listens. Each line on its standard input asks for one line of counters:
// "received N flood M clients C", the datagrams that came to any of its sockets, those of them that hold the
// mark of a flood, and the handshakes that were completed. It ends with its standard input.

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// The mark is the session_id of a flood's ClientHellos, and stands at the same place in its junk.
static const char mark[] = "dtlsguard flood!";
enum { MARK_AT = 60, HEAD = 64, MAX_SECRETS = 8, OWN_COOKIE = 20 };

static struct {
	unsigned char key[32], epoch;
} secrets[MAX_SECRETS];
static int secret_count, trust, by_address;

static struct sockaddr_storage address;
static socklen_t address_len;
static atomic_ulong received, flood, clients;

// client is what is known of a peer: the head of its latest ClientHello, which DTLSv1_listen keeps to itself.
struct client {
	SSL *ssl;
	int fd;
	unsigned char head[HEAD];
};

static void die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

// tap sees each datagram that a socket gives to OpenSSL.
static long tap(BIO *bio, int oper, const char *data, size_t len, int argi, long argl, int ret, size_t *processed)
{
	struct client *c = (void *)BIO_get_callback_arg(bio);
	(void)len, (void)argi, (void)argl;
	if (oper != (BIO_CB_READ | BIO_CB_RETURN) || ret <= 0 || !processed)
		return ret;
	atomic_fetch_add(&received, 1);
	if (*processed >= MARK_AT + sizeof(mark) - 1 && !memcmp(data + MARK_AT, mark, sizeof(mark) - 1))
		atomic_fetch_add(&flood, 1);
	// The first fragment of a ClientHello: record type, message type, fragment_offset.
	if (*processed >= HEAD && data[0] == 22 && data[13] == 1 && !data[19] && !data[20] && !data[21])
		memcpy(c->head, data, HEAD);
	return ret;
}

// mapped is the address and port of a datagram's sender as the message has them.
static void mapped(BIO *bio, unsigned char to[18])
{
	BIO_ADDR *peer = BIO_ADDR_new();
	unsigned short port;
	size_t n = 16;
	BIO_dgram_get_peer(bio, peer);
	memset(to, 0, 18);
	if (BIO_ADDR_family(peer) == AF_INET) {
		memset(to + 10, 0xff, 2);
		BIO_ADDR_rawaddress(peer, to + 12, &n);
	} else {
		BIO_ADDR_rawaddress(peer, to, &n);
	}
	port = BIO_ADDR_rawport(peer); // in network order
	memcpy(to + 16, &port, 2);
	BIO_ADDR_free(peer);
}

// own_cookie makes a cookie of the client's address and port, under a key that nobody else has.
static void own_cookie(SSL *ssl, unsigned char *tag)
{
	static unsigned char key[32];
	static int drawn;
	unsigned char m[18];
	unsigned int n;
	if (!drawn++ && RAND_bytes(key, sizeof(key)) != 1)
		die("key");
	mapped(SSL_get_rbio(ssl), m);
	HMAC(EVP_sha256(), key, sizeof(key), m, sizeof(m), tag, &n);
}

// verify computes the cookie that dtlsguard gave, from what is in front of this server's own eyes.
static int verify(SSL *ssl, const unsigned char *cookie, unsigned int len)
{
	struct client *c = SSL_get_app_data(ssl);
	unsigned char m[55] = {1}, tag[32];
	unsigned int n;
	if (trust)
		return 1;
	if (by_address) {
		own_cookie(ssl, tag);
		return len == OWN_COOKIE && !CRYPTO_memcmp(cookie, tag, len);
	}
	if (len != 32)
		return 0;
	mapped(SSL_get_rbio(ssl), m + 1);
	memcpy(m + 19, &((struct sockaddr_in *)&address)->sin_port, 2); // IPv6 has it at the same place
	memcpy(m + 21, c->head + 25, 34);				    // client_version and random
	for (int i = 0; i < secret_count; i++) {
		HMAC(EVP_sha256(), secrets[i].key, 32, m, sizeof(m), tag, &n);
		if (cookie[0] == secrets[i].epoch && !CRYPTO_memcmp(cookie + 1, tag, 31))
			return 1;
	}
	return 0;
}

// generate answers who comes past the guard; the guard itself is the only one in a test.
static int generate(SSL *ssl, unsigned char *cookie, unsigned int *len)
{
	unsigned char tag[32];
	if (by_address) {
		own_cookie(ssl, tag);
		memcpy(cookie, tag, *len = OWN_COOKIE);
		return 1;
	}
	memset(cookie, 7, *len = 16);
	return 1;
}

// listener opens a socket on the server's port, beside those that are there.
static int listener(void)
{
	int fd = socket(address.ss_family, SOCK_DGRAM, 0), on = 1;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) || bind(fd, (struct sockaddr *)&address, address_len))
		die("bind");
	return fd;
}

static void *serve(void *arg)
{
	struct client *c = arg;
	char buf[4096];
	int n;
	if (SSL_accept(c->ssl) == 1) {
		atomic_fetch_add(&clients, 1);
		while ((n = SSL_read(c->ssl, buf, sizeof(buf))) > 0)
			SSL_write(c->ssl, buf, n);
		SSL_shutdown(c->ssl);
	} else {
		ERR_print_errors_fp(stderr);
	}
	SSL_free(c->ssl);
	close(c->fd);
	free(c);
	return NULL;
}

// employ goes on with a client that has shown its cookie, on a socket that is connected to it.
static void employ(struct client *c, BIO_ADDR *peer)
{
	struct sockaddr_storage to = {.ss_family = address.ss_family};
	struct timeval patience = {.tv_sec = 60};
	BIO *bio = SSL_get_rbio(c->ssl);
	size_t n = 16;
	pthread_t thread;
	((struct sockaddr_in *)&to)->sin_port = BIO_ADDR_rawport(peer);
	if (to.ss_family == AF_INET)
		BIO_ADDR_rawaddress(peer, &((struct sockaddr_in *)&to)->sin_addr, &n);
	else
		BIO_ADDR_rawaddress(peer, &((struct sockaddr_in6 *)&to)->sin6_addr, &n);
	c->fd = listener();
	if (connect(c->fd, (struct sockaddr *)&to, address_len))
		die("connect");
	BIO_set_fd(bio, c->fd, BIO_NOCLOSE);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_CONNECTED, 0, &to);
	BIO_ctrl(bio, BIO_CTRL_DGRAM_SET_RECV_TIMEOUT, 0, &patience);
	if (pthread_create(&thread, NULL, serve, c) || pthread_detach(thread))
		die("thread");
}

static _Noreturn void accept_clients(SSL_CTX *ctx)
{
	BIO_ADDR *peer = BIO_ADDR_new();
	int fd = listener();
	puts("ready");
	for (;;) {
		struct client *c = calloc(1, sizeof(*c));
		BIO *bio = BIO_new_dgram(fd, BIO_NOCLOSE);
		int r;
		c->ssl = SSL_new(ctx);
		SSL_set_app_data(c->ssl, c);
		SSL_set_bio(c->ssl, bio, bio);
		BIO_set_callback_ex(bio, tap);
		BIO_set_callback_arg(bio, (char *)c);
		while ((r = DTLSv1_listen(c->ssl, peer)) == 0)
			;
		if (r > 0) {
			employ(c, peer);
			continue;
		}
		ERR_clear_error();
		SSL_free(c->ssl);
		free(c);
	}
}

static void *answer_questions(void *arg)
{
	char line[80];
	while (fgets(line, sizeof(line), stdin))
		printf("received %lu flood %lu clients %lu\n", atomic_load(&received), atomic_load(&flood), atomic_load(&clients));
	(void)arg;
	exit(0);
}

// epoch_of is the epoch of a secret from a file: derived from it, so that all who read the file agree.
static unsigned char epoch_of(const unsigned char key[32])
{
	unsigned char text[29 + 32] = "dtlsguard secret fingerprint", sum[32]; // the string's NUL is part of it
	memcpy(text + 29, key, 32);
	EVP_Digest(text, sizeof(text), sum, NULL, EVP_sha256(), NULL);
	return sum[8];
}

// read_secrets reads lines of 64 hexadecimal digits.
static void read_secrets(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[80];
	if (!f)
		die(path);
	while (secret_count < MAX_SECRETS && fgets(line, sizeof(line), f)) {
		for (int i = 0; i < 32; i++)
			if (sscanf(line + 2 * i, "%2hhx", &secrets[secret_count].key[i]) != 1)
				die("hexadecimal digits");
		secrets[secret_count].epoch = epoch_of(secrets[secret_count].key);
		secret_count++;
	}
	fclose(f);
}

static void parse_address(const char *host, int port)
{
	struct sockaddr_in *v4 = (void *)&address;
	struct sockaddr_in6 *v6 = (void *)&address;
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		address_len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		address_len = sizeof(*v6);
	} else {
		die(host);
	}
	v4->sin_port = htons(port);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	if (argc != 6)
		return 2;
	parse_address(argv[1], atoi(argv[2]));
	trust = !strcmp(argv[5], "trust");
	by_address = !strcmp(argv[5], "address");
	if (!trust && !by_address)
		read_secrets(argv[5]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	SSL_CTX *ctx = SSL_CTX_new(DTLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(ctx, argv[3]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[4], SSL_FILETYPE_PEM) != 1)
		die("certificate");
	SSL_CTX_set_cookie_generate_cb(ctx, generate);
	SSL_CTX_set_cookie_verify_cb(ctx, verify);
	SSL_CTX_set_options(ctx, SSL_OP_COOKIE_EXCHANGE);
	if (pthread_create(&thread, NULL, answer_questions, NULL))
		die("thread");
	accept_clients(ctx);
}
