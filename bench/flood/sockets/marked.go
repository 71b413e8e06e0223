package sockets

import "github.com/dtlsguard/dtlsguard/bench/flood/traffic"

// Marker is the session_id of the ClientHellos of [Marked]. It reveals datagrams of a flood where there must be none.
const Marker = "dtlsguard flood!"

// Marked is a mix of ClientHellos of openssl s_client with the Marker.
func Marked() traffic.Mix {
	t, err := traffic.WithSessionID(traffic.Captured("openssl-dtls12:1"), []byte(Marker))
	if err != nil {
		panic(err) // the captured datagram is valid
	}
	return traffic.Single(t)
}
