package xdp

import "github.com/dtlsguard/dtlsguard/bench/flood/traffic"

// Flow has the addresses of frames.
type Flow = traffic.Flow

// Template is a datagram and what varies in it between sources.
type Template = traffic.Template

// FirstHello makes a flood of a real client's first datagram.
func FirstHello(datagram []byte) (Template, error) { return traffic.FirstHello(datagram) }

// WithCookie makes a flood of second ClientHellos, all with the same cookie.
func WithCookie(datagram, cookie []byte) (Template, error) {
	return traffic.WithCookie(datagram, cookie)
}

// Junk makes a flood of datagrams of size bytes that are not DTLS.
func Junk(size int) (Template, error) { return traffic.Junk(size) }
