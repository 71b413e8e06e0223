package main

// replies is the part of --help on what comes back.
const replies = `
Answers are counted and checked. One is right if it is a complete HelloVerifyRequest of version 1.0 or 1.2, with the record
sequence number and message_seq of its question (RFC 6347 section 4.2.1) and a cookie of 1 to 255 bytes, and not longer
than the question.

--sample clients per second run beside the flood, each with its own socket: on IPv4 loopback with its own address, elsewhere
with its own port at the interface's addresses. Each asks, waits up to a second and repeats the question. One in --return
also returns its cookie, and a second one if the server asks for that. Reported about them:

  latency   from a question to the kernel's time stamp of its answer
  compared  cookies compared with those of other sources; shared: how many another source had too. None, if cookies depend
            on address and port; a few, if a guard harvests its server's; all, if they depend on the address alone and
            the sources are ports
  same      the repeated question got the same cookie; changed: another one, because secrets were rotated, cookies have a
            clock or are random, or a harvesting guard has two per client
  accepted  the server goes on with its handshake (the client then aborts it with a user_canceled alert); asked_twice: those of them
            that had to return a second cookie; refused: it asked once more, sent an alert, or nobody listens; silent: neither

Faults of answers: kind (not a HelloVerifyRequest), lengths, cookie, version, record_seq, message_seq, length
(amplification). GnuTLS, Pion and OpenSSL's SSL_accept (not DTLSv1_listen) do not copy record_seq.

A guard accepts --hello-rate cookies per second and source address: with -i, clients above that rate are counted as silent.
A server that serves one client at a time (openssl s_server, gnutls-serv) needs --return 0.

--json writes one object per line, with a type: second (since the previous line), summary (the last line), or step and ndr
with --ndr.

Exit status: 0; 1 if nothing was sent, no answer was right, the rate was missed by more than 2 %, or an unlimited flood was
answered completely, so that the generator was the bottleneck; 2 if the command line is wrong or the target may belong to
somebody else.
`
