package main

// replies is the part of --help on what comes back.
const replies = `
What comes back is counted and checked: an answer is right if it is a HelloVerifyRequest, whole, of version 1.0 or 1.2, with
the record sequence number and the message_seq of its question (RFC 6347 section 4.2.1), a cookie of 1 to 255 bytes, and no
longer than the question.

Beside the flood there are sampled clients, --sample per second, with sockets of their own: on IPv4 loopback each with an
address of its own, elsewhere with a port of its own at the interface's addresses. Each asks, waits up to a second, asks
the same again, and one in --return of them returns its cookie, and a second one if it is asked for it. Reported of them:

  latency   from a question to the kernel's time stamp of its answer
  compared  cookies compared with those of other sources, and how many another had before (shared): none, if cookies depend
            on address and port; a few where a guard harvests its server's; all, if they depend on the address alone and
            the sources are ports
  same      the second cookie is the first one; changed: secrets were rotated between, or cookies have a clock or are random,
            or a guard that harvests has two for each client
  accepted  the server goes on with its handshake (the client then aborts it with a user_canceled alert); asked_twice: those of them
            that had to return a second cookie; refused: it asked once more, sent an alert, or nobody listens; silent: neither

What is wrong with an answer is named: kind (no HelloVerifyRequest), lengths, cookie, version, record_seq,
message_seq, length (an amplifier). GnuTLS, Pion and OpenSSL's SSL_accept (not DTLSv1_listen) do not copy record_seq.

A guard lets through --hello-rate cookies per second and source address: with -i, more clients that return theirs are silent.
A server that serves one client at a time (openssl s_server, gnutls-serv) needs --return 0.

--json writes lines with a type: second (since the line before), summary (the last one), or step and ndr with --ndr.

Exit status: 0; 1 if it did not go as asked: nothing sent, no answer at all or none that is right, the rate not reached by
2 %, or all of an unlimited flood answered, so that it was the generator that was measured; 2 if the command line makes no
sense or the target may be a stranger's.
`
