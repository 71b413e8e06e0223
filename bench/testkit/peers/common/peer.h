// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// Shared code of the servers. One socket listens. A client with a valid cookie gets a socket of its own, bound to the
// same port and connected to the client, and a thread that echoes its data.
//
//	SERVER ADDRESS PORT CERTIFICATE KEY [COOKIES]
//
// COOKIES is a word explained at the head of the server's source, or a file whose first line is a secret of 64
// hexadecimal digits, as in dtlsguard's --secret-file; without it the secret is random. A server that listens is ready.

#ifndef PEER_H
#define PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER_SECRET 32	     // bytes
#define PEER_DATAGRAM 2048   // longer than any datagram of a handshake
#define PEER_PATIENCE 30000  // ms after which a silent client is dropped
#ifndef PEER_IDLE
#define PEER_IDLE PEER_PATIENCE // the same after the handshake
#endif
#define PEER_MTU 1400	     // for libraries that must be told the MTU

// struct datagram is a datagram received and not yet read.
struct datagram {
	struct datagram *next;
	struct sockaddr_storage from;
	socklen_t size;
	ssize_t length;
	unsigned char data[PEER_DATAGRAM];
};

static struct {
	struct sockaddr_storage address;
	socklen_t size;
	const char *certificate, *key, *cookies;
	int fd; // listens
	struct datagram *pending; // of clients without a socket, oldest first
	int count; // of pending
} peer_server;

// PEER_PENDING bounds what is read ahead: a few clients' ClientHellos in fragments. In a flood the rest waits in the socket, or is
// lost. PEER_QUEUED is more than a socket's buffer holds (net.core.rmem_default, 208 KiB).
enum { PEER_PENDING = 64, PEER_QUEUED = 4096 };

// struct peer is a client, verified or not.
struct peer {
	int fd; // its own socket; -1: not verified
	struct sockaddr_storage address;
	socklen_t size;
	unsigned char datagram[PEER_DATAGRAM]; // received and not yet read
	ssize_t length;
	struct datagram *early; // came before its socket, oldest first
	void *session; // for the server's use
	struct peer *next; // in peer_employed
};

// Clients with a socket of their own, by port. A datagram sent before that may still arrive at the listening socket, and
// must not make a second client: the two would steal each other's datagrams.
static struct {
	pthread_mutex_t lock;
	struct peer *list[1 << 16];
} peer_employed = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void peer_die(const char *what)
{
	perror(what);
	exit(1);
}

// peer_read_arguments reads the command line.
static inline void peer_read_arguments(int argc, char **argv)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&peer_server.address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&peer_server.address;
	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: %s ADDRESS PORT CERTIFICATE KEY [COOKIES]\n", argv[0]);
		exit(2);
	}
	if (inet_pton(AF_INET, argv[1], &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		peer_server.size = sizeof(*v4);
	} else if (inet_pton(AF_INET6, argv[1], &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		peer_server.size = sizeof(*v6);
	} else {
		fprintf(stderr, "%s is not an address\n", argv[1]);
		exit(2);
	}
	v4->sin_port = htons(atoi(argv[2])); // sin6_port is at the same offset
	peer_server.certificate = argv[3];
	peer_server.key = argv[4];
	peer_server.cookies = argc > 5 ? argv[5] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
}

// peer_asked reports whether COOKIES is word.
static inline int peer_asked(const char *word) { return !strcmp(peer_server.cookies, word); }

// peer_secret is the secret of the file COOKIES, random if COOKIES is not a file.
static inline void peer_secret(unsigned char secret[PEER_SECRET])
{
	FILE *f = strchr(peer_server.cookies, '/') ? fopen(peer_server.cookies, "r") : NULL;
	if (!f && strchr(peer_server.cookies, '/'))
		peer_die(peer_server.cookies);
	for (int i = 0; i < PEER_SECRET; i++)
		if (f ? fscanf(f, "%2hhx", &secret[i]) != 1 : getrandom(&secret[i], 1, 0) != 1)
			peer_die("64 hexadecimal digits");
	if (f)
		fclose(f);
}

// peer_socket opens a socket at the server's address. The kernel prefers the socket that is connected to the sender.
static inline int peer_socket(void)
{
	int on = 1, fd = socket(peer_server.address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&peer_server.address, peer_server.size))
		peer_die("bind");
	return fd;
}

// peer_listen opens the listening socket, last: a server that listens is ready.
static inline void peer_listen(void)
{
	int room = 8 << 20; // room while the server is off its CPU: the default of 208 KB holds 50 datagrams in a driver's pages
	peer_server.fd = peer_socket();
	setsockopt(peer_server.fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)); // fails without privileges: the default remains
}

static inline struct peer *peer_new(void)
{
	struct peer *p = calloc(1, sizeof(*p));
	if (!p)
		peer_die("memory");
	p->fd = -1;
	return p;
}

static inline struct peer **peer_list(const struct peer *p)
{
	return &peer_employed.list[((const struct sockaddr_in *)&p->address)->sin_port]; // sin6_port is at the same offset
}

// peer_is_employed reports whether the sender of p's datagram has a socket.
static inline int peer_is_employed(const struct peer *p)
{
	struct peer *e;
	pthread_mutex_lock(&peer_employed.lock);
	for (e = *peer_list(p); e && memcmp(&e->address, &p->address, p->size); e = e->next)
		;
	pthread_mutex_unlock(&peer_employed.lock);
	return e != NULL;
}

// peer_pop takes the oldest datagram of a list.
static inline struct datagram *peer_pop(struct datagram **list)
{
	struct datagram *d = *list;
	if (d)
		*list = d->next;
	return d;
}

// peer_next waits for a datagram of a client without a socket.
static inline void peer_next(struct peer *p)
{
	for (struct datagram *d; (d = peer_pop(&peer_server.pending));) {
		peer_server.count--;
		p->size = d->size;
		memcpy(&p->address, &d->from, sizeof(p->address));
		p->length = d->length;
		memcpy(p->datagram, d->data, d->length);
		free(d);
		if (p->length > 0 && !peer_is_employed(p))
			return;
	}
	do {
		p->size = sizeof(p->address);
		p->length = recvfrom(peer_server.fd, p->datagram, sizeof(p->datagram), 0, (struct sockaddr *)&p->address, &p->size);
	} while (p->length <= 0 || peer_is_employed(p));
}

// peer_push makes a datagram the newest of a list.
static inline void peer_push(struct datagram **list, struct datagram *d)
{
	while (*list)
		list = &(*list)->next;
	d->next = NULL;
	*list = d;
}

static inline int peer_sent(const struct peer *p, const struct datagram *d)
{
	return !memcmp(&d->from, &p->address, p->size);
}

// peer_claim moves p's pending datagrams to p.
static inline void peer_claim(struct peer *p)
{
	for (struct datagram **at = &peer_server.pending, *d; (d = *at);) {
		if (!peer_sent(p, d)) {
			at = &d->next;
			continue;
		}
		*at = d->next;
		peer_server.count--;
		peer_push(&p->early, d);
	}
}

// peer_collect reads up to most datagrams from a socket: those of p go to p, those of others become pending. If
// too many are pending, they are dropped, and clients retransmit.
static inline void peer_collect(int fd, struct peer *p, int most)
{
	while (most-- > 0) {
		struct datagram *d = calloc(1, sizeof(*d));
		if (!d)
			peer_die("memory");
		d->size = sizeof(d->from);
		d->length = recvfrom(fd, d->data, sizeof(d->data), MSG_DONTWAIT, (struct sockaddr *)&d->from, &d->size);
		if (d->length < 0) {
			free(d);
			return;
		}
		if (peer_sent(p, d)) {
			peer_push(&p->early, d);
		} else if (peer_server.count < PEER_PENDING) {
			peer_push(&peer_server.pending, d);
			peer_server.count++;
		} else {
			free(d);
		}
	}
}

// peer_wait waits for something to receive. 0: there is nothing within ms.
static inline int peer_wait(struct peer *p, int ms)
{
	struct pollfd on = {.fd = p->fd, .events = POLLIN};
	return p->length > 0 || p->early ? 1 : p->fd < 0 ? 0 : poll(&on, 1, ms) > 0;
}

// peer_receive is recv(2), and returns -1 with EAGAIN after ms. A client without a socket has one datagram.
static inline ssize_t peer_receive(struct peer *p, void *to, size_t size, int ms)
{
	ssize_t n = p->length;
	if (!peer_wait(p, ms)) {
		errno = EAGAIN;
		return -1;
	}
	if (n <= 0 && p->early) {
		struct datagram *d = peer_pop(&p->early);
		n = p->length = d->length;
		memcpy(p->datagram, d->data, n);
		free(d);
	}
	if (n <= 0)
		return recv(p->fd, to, size, 0);
	n = (size_t)n < size ? n : (ssize_t)size;
	memcpy(to, p->datagram, n);
	p->length = 0;
	return n;
}

static inline ssize_t peer_send(struct peer *p, const void *data, size_t size)
{
	if (p->fd >= 0)
		return send(p->fd, data, size, 0);
	return sendto(peer_server.fd, data, size, 0, (struct sockaddr *)&p->address, p->size);
}

// peer_connect gives a client its socket.
static inline void peer_connect(struct peer *p)
{
	p->fd = peer_socket();
	if (connect(p->fd, (struct sockaddr *)&p->address, p->size))
		peer_die("connect");
	pthread_mutex_lock(&peer_employed.lock);
	p->next = *peer_list(p);
	*peer_list(p) = p;
	pthread_mutex_unlock(&peer_employed.lock);
}

// peer_start starts a thread that runs serve(p).
static inline void peer_start(struct peer *p, void *(*serve)(void *))
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, serve, p) || pthread_detach(thread))
		peer_die("thread");
}

// peer_employ gives a client its socket and a thread that runs serve(p). What the client has sent in between, such as the second
// fragment of its ClientHello, is not lost: application data would not come again.
static inline void peer_employ(struct peer *p, void *(*serve)(void *))
{
	peer_connect(p);
	peer_claim(p);
	peer_collect(peer_server.fd, p, PEER_PENDING - peer_server.count);
	peer_collect(p->fd, p, PEER_QUEUED); // between bind and connect datagrams of others arrive here as well
	peer_start(p, serve);
}

static inline void peer_free(struct peer *p)
{
	if (p->fd >= 0) {
		pthread_mutex_lock(&peer_employed.lock);
		for (struct peer **e = peer_list(p); *e; e = &(*e)->next)
			if (*e == p) {
				*e = p->next;
				break;
			}
		pthread_mutex_unlock(&peer_employed.lock);
		close(p->fd);
	}
	for (struct datagram *d; (d = peer_pop(&p->early));)
		free(d);
	free(p);
}

#endif
