// Package capture writes traffic for other generators to play: as a pcap file (tcpreplay, TRex) and as a
// configuration of trafgen; and it reads ClientHellos from files. It sends nothing and needs no privileges.
package capture
