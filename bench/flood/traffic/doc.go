// Package traffic says what the generators send: datagrams with what varies in them ([Template]), what a source
// sends ([Item]), how often ([Mix]), and the frames around it ([Flow]). It sends nothing itself and needs no
// privileges.
//
// All that varies in a frame follows from its source address and port, which [Flow.Source] draws: what is sent
// ([Mix.Of]), the record sequence number and the random ([Flow.Datagram]). So whether an answer is right shows
// without a table of questions. The generator in the kernel (bench/flood/xdp) does the same in BPF, byte for byte.
//
// All values are read only once made, and may be used from anywhere.
package traffic
