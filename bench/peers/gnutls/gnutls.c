// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// GnuTLS as its manual's DTLS server example has it: look at a datagram, verify or send a cookie, take it off.
//
// usage: gnutls ADDRESS PORT

#include <arpa/inet.h>
#include <gnutls/dtls.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct peer {
	int socket;
	struct sockaddr_in address;
	socklen_t size;
};

static ssize_t push(gnutls_transport_ptr_t p, const void *data, size_t size)
{
	struct peer *to = p;
	return sendto(to->socket, data, size, 0, (struct sockaddr *)&to->address, to->size);
}

int main(int argc, char **argv)
{
	static char data[2048];
	struct sockaddr_in here = {.sin_family = AF_INET};
	gnutls_datum_t key;
	if (argc != 3 || inet_pton(AF_INET, argv[1], &here.sin_addr) != 1)
		return 2;
	here.sin_port = htons(atoi(argv[2]));
	if (gnutls_global_init() < 0 || gnutls_key_generate(&key, GNUTLS_COOKIE_KEY_SIZE) < 0)
		return 1;
	// Only now: who listens is ready.
	struct peer p = {.socket = socket(AF_INET, SOCK_DGRAM, 0)};
	int room = 8 << 20; // for the datagrams of some slices of the CPU: the default of 208 KB holds 50 from a driver's pages
	setsockopt(p.socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (p.socket < 0 || bind(p.socket, (struct sockaddr *)&here, sizeof(here))) {
		perror("bind");
		return 1;
	}
	for (;;) {
		gnutls_dtls_prestate_st state = {};
		p.size = sizeof(p.address);
		ssize_t n = recvfrom(p.socket, data, sizeof(data), MSG_PEEK, (struct sockaddr *)&p.address, &p.size);
		if (n > 0 && gnutls_dtls_cookie_verify(&key, &p.address, p.size, data, n, &state) < 0)
			gnutls_dtls_cookie_send(&key, &p.address, p.size, &state, &p, push);
		recv(p.socket, data, sizeof(data), 0);
	}
}
