// Package capture writes traffic for other generators: as a pcap file (tcpreplay, TRex) or as a trafgen configuration. It
// also reads ClientHellos from files. It sends nothing and needs no privileges.
package capture
