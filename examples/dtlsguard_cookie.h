// SPDX-License-Identifier: Apache-2.0. Copyright The dtlsguard Authors

// dtlsguard's cookies, format v1, for servers that compute them themselves (--handoff native-hmac): call dtlsguard_verify
// for each ClientHello with a cookie. Not thread-safe. The server provides HMAC-SHA256 from its own library.
#ifndef DTLSGUARD_COOKIE_H
#define DTLSGUARD_COOKIE_H

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DTLSGUARD_COOKIE = 32, DTLSGUARD_SECRET = 32, DTLSGUARD_SECRETS = 4 }; // bytes, bytes, lines of a file

struct dtlsguard_secrets {
	const char *path; // of dtlsguard's --secret-file; the caller sets this and hmac, the rest must be zero
	void (*hmac)(const unsigned char key[DTLSGUARD_SECRET], const void *message, size_t length, unsigned char tag[32]);
	struct stat seen; // the file as it was read
	int count;	  // of keys; the first is the current one
	unsigned char key[DTLSGUARD_SECRETS][DTLSGUARD_SECRET];
};

// dtlsguard_read reads the file if it has changed since the last time. -1: it cannot be read, has no secret, or has
// something other than 64 hexadecimal digits per line; the previous secrets stay in force.
static inline int dtlsguard_read(struct dtlsguard_secrets *s)
{
	struct dtlsguard_secrets new = *s;
	char line[512];
	FILE *f = fopen(s->path, "r");
	if (!f)
		return -1;
	int same = !fstat(fileno(f), &new.seen) && s->seen.st_ino == new.seen.st_ino && s->seen.st_size == new.seen.st_size &&
		   !memcmp(&s->seen.st_mtim, &new.seen.st_mtim, sizeof(s->seen.st_mtim));
	for (new.count = 0; !same && new.count >= 0 && new.count < DTLSGUARD_SECRETS && fgets(line, sizeof(line), f);) {
		size_t digits = strspn(line, "0123456789abcdefABCDEF");
		if (!digits && strchr("#\r\n", line[0]))
			continue;
		for (int i = 0; i < DTLSGUARD_SECRET && digits == 2 * DTLSGUARD_SECRET; i++)
			sscanf(line + 2 * i, "%2hhx", &new.key[new.count][i]);
		new.count = digits == 2 * DTLSGUARD_SECRET ? new.count + 1 : -1;
	}
	fclose(f);
	if (new.count > 0)
		*s = new;
	return same || new.count > 0 ? 0 : -1;
}

// dtlsguard_tag computes bytes 1 to 31 of a cookie into tag[0] to tag[30]; byte 0 is the guard's key ID.
// client is the peer that the server sees, port the server's own, hello the ClientHello's client_version and random in wire order.
static inline void dtlsguard_tag(const struct dtlsguard_secrets *s, int key, const struct sockaddr *client, unsigned port,
				 const unsigned char hello[34], unsigned char tag[32])
{
	const struct sockaddr_in *v4 = (const void *)client;
	unsigned char m[55] = {1, [11] = 0xff, [12] = 0xff}; // IPv4 is v4-mapped
	if (client->sa_family == AF_INET)
		memcpy(m + 13, &v4->sin_addr, 4);
	else
		memcpy(m + 1, &((const struct sockaddr_in6 *)client)->sin6_addr, 16);
	memcpy(m + 17, &v4->sin_port, 2); // sin6_port is at the same offset
	m[19] = port >> 8, m[20] = port & 0xff;
	memcpy(m + 21, hello, 34);
	s->hmac(s->key[key], m, sizeof(m), tag);
}

// dtlsguard_verify reports whether a cookie is valid under one of the secrets.
static inline int dtlsguard_verify(struct dtlsguard_secrets *s, const struct sockaddr *client, unsigned port,
				   const unsigned char hello[34], const unsigned char *cookie, size_t length)
{
	unsigned char tag[32], differs = 1;
	dtlsguard_read(s);
	for (int i = 0; i < s->count && differs && length == DTLSGUARD_COOKIE; i++) {
		dtlsguard_tag(s, i, client, port, hello, tag);
		for (int j = differs = 0; j < DTLSGUARD_COOKIE - 1; j++)
			differs |= tag[j] ^ cookie[j + 1];
	}
	return !differs;
}

#endif
