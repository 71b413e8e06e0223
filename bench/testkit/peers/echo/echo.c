// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// The limit of sockets: recvmmsg and sendmmsg and nothing between them. Every datagram goes back, cut to the
// length of a HelloVerifyRequest.
//
// usage: echo ADDRESS PORT; further arguments are ignored

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define BATCH 64
#define ANSWER 60
#define LONGEST 2048

int main(int argc, char **argv)
{
	static char data[BATCH][LONGEST];
	static struct sockaddr_in peers[BATCH];
	struct iovec in[BATCH], out[BATCH];
	struct mmsghdr questions[BATCH] = {}, answers[BATCH] = {};
	struct sockaddr_in here = {.sin_family = AF_INET};

	if (argc < 3 || inet_pton(AF_INET, argv[1], &here.sin_addr) != 1)
		return 2;
	here.sin_port = htons(atoi(argv[2]));
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	int room = 8 << 20; // for the datagrams of some slices of the CPU: the default of 208 KB holds 50 from a driver's pages
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof(here))) {
		perror("bind");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		in[i] = (struct iovec){data[i], LONGEST};
		questions[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_iov = &in[i], .msg_iovlen = 1};
		answers[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof(peers[i]), .msg_iov = &out[i], .msg_iovlen = 1};
	}
	for (;;) {
		for (int i = 0; i < BATCH; i++)
			questions[i].msg_hdr.msg_namelen = sizeof(peers[i]);
		int n = recvmmsg(s, questions, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < n; i++) {
			unsigned len = questions[i].msg_len;
			out[i] = (struct iovec){data[i], len < ANSWER ? len : ANSWER};
		}
		for (int done = 0; done < n;) {
			int sent = sendmmsg(s, answers + done, n - done, 0);
			done += sent > 0 ? sent : 1; // what cannot be sent is lost
		}
	}
}
