package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
)

// about begins --help.
const about = `dtlsflood sends real ClientHellos from many sources to your own DTLS service, and checks that each answer is the
right HelloVerifyRequest.

  sendmmsg  without -i: UDP sockets on loopback, no privileges; sources in 127.0.0.0/8, or 256 ports of ::1
            with -i: frames from a packet socket, any sources, needs root
  xdp       frames from the kernel, any sources, millions per second, needs root and -i
  pcap      sends nothing: writes FILE, a classic pcap for tcpreplay and TRex, and FILE.trafgen for trafgen.
            A test plays them with tcpreplay 4.4 and trafgen 0.6; TRex was not tried

With forged sources, the service's host needs a route for them to this host, or no answers arrive:
ip route add 198.18.128.0/17 via THIS-HOST. Broadcast and multicast targets are refused.

Short flags follow other generators: -i, -d, -m, -p, -t, -n as in the samples of pktgen, -Q, -b, -F as in kxdpgun;
but -n counts the datagrams of all threads together.

Kinds of datagrams (--mix NAME=WEIGHT,...; each source sends one kind):
`

const examples = `  dtlsflood -d 127.0.0.1 -p 4433 -Q 100000
  dtlsflood -i veth0 -d 198.18.0.1 --mix hello=8,large,junk=1 --duration 30s --json
  dtlsflood -d 127.0.0.1 -p 4433 -Q 1000 --sample 500 --return 1     # are clients served, and how fast?
  dtlsflood -i veth0 -d 198.18.0.1 --ndr 0.001 --duration 2s    # highest rate with at most 0.1 % unanswered
  dtlsflood --engine pcap --write flood.pcap -d 198.18.0.1 -n 10000`

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

// kinds lists what can be sent.
func kinds() string {
	var text string
	for _, name := range slices.Sorted(maps.Keys(traffic.Kinds)) {
		text += fmt.Sprintf("  %-13s %s\n", name, traffic.Kinds[name])
	}
	return text
}
