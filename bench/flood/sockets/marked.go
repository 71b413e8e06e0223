package sockets

import "github.com/dtlsguard/dtlsguard/bench/flood/traffic"

// Marker is the session_id of the ClientHellos of [Marked]. It is how a flood's datagram is known where none should
// be.
const Marker = "dtlsguard flood!"

// Marked is a mix of ClientHellos of openssl s_client that bear the Marker.
func Marked() traffic.Mix {
	t, err := traffic.WithSessionID(traffic.Captured("openssl-dtls12:1"), []byte(Marker))
	if err != nil {
		panic(err) // the captured one is what it is
	}
	return traffic.Single(t)
}
