// Package traffic describes what generators send: datagrams and what varies in them ([Template]), what a source sends
// ([Item]), how often ([Mix]), and the frames around it ([Flow]). It sends nothing and needs no privileges.
//
// Everything that varies in a frame follows from its source address and port, which [Flow.Source] draws: the item
// ([Mix.Of]), the record sequence number and the random ([Flow.Datagram]). So answers can be checked without a table of
// questions. The generator in the kernel (bench/flood/xdp) does the same in BPF, byte for byte.
//
// All values are read-only once made; any goroutine may use them.
package traffic
