// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// Shared code of the clients: they send their standard input, print what comes back, close at the end of standard input,
// and accept any certificate.
//
//	CLIENT ADDRESS PORT

#ifndef CLIENT_H
#define CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENT_DATAGRAM 2048

static inline void client_die(const char *what, int code)
{
	fprintf(stderr, "%s: %d\n", what, code);
	exit(1);
}

// client_connect returns a socket that is connected to the server of the command line.
static inline int client_connect(int argc, char **argv)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM}, *to;
	if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &to)) {
		fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]);
		exit(2);
	}
	int fd = socket(to->ai_family, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen))
		client_die("connect", errno);
	freeaddrinfo(to);
	return fd;
}

// client_ready waits until the socket has something within ms.
static inline int client_ready(int fd, int ms)
{
	struct pollfd on = {.fd = fd, .events = POLLIN};
	return poll(&on, 1, ms) > 0;
}

// client_converse says that the handshake is finished, and transfers data both ways until the end of standard input. transmit
// sends. receive returns data that has arrived, since a datagram may have several records: 0 if there is no more, -1 at the end
// of the association.
static inline void client_converse(int fd, int (*transmit)(const void *, int), int (*receive)(void *, int))
{
	char data[CLIENT_DATAGRAM];
	struct pollfd on[] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
	fputs("connected\n", stderr);
	for (;;) {
		int n;
		if (poll(on, 2, -1) < 0)
			client_die("poll", errno);
		while (on[1].revents && (n = receive(data, sizeof(data))) != 0)
			if (n < 0 || write(1, data, n) != n)
				client_die("receive", n);
		if (!on[0].revents)
			continue;
		if ((n = read(0, data, sizeof(data))) <= 0)
			return;
		if (transmit(data, n) < 0)
			client_die("transmit", errno);
	}
}

#endif
