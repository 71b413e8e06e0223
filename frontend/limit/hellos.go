package limit

import (
	"encoding/binary"
	"sync/atomic"
)

// DefaultSource lets 300 clients behind one address, as behind a carrier's NAT, start at once, and retransmit.
var DefaultSource = Rate{PerSecond: 20, Burst: 300}

// Outcome is the limit that a ClientHello exceeds.
type Outcome uint8

// The outcomes.
const (
	Within Outcome = iota
	OverSource
	OverService
)

// portRate is what one port of an address may take of the address's tokens: a client needs one, two with double-hvr, and
// retransmits after 1 s at the earliest (RFC 6347 section 4.2.4.1), so that a client that starts over and over does not use up
// the tokens of others behind the same address.
var portRate = Rate{PerSecond: 2, Burst: 8}

// share is what one prefix may take of a service's tokens while they are scarce, as a divisor.
const share = 8

// remembered is for how many seconds a prefix is known after one of its clients finished a handshake.
const remembered = 3600

// Hellos limits the verified ClientHellos of one service, retransmissions included.
//
// A source has a bucket, and each of its ports a share of that. The service has one bucket of a second's worth, of which
// prefixes take fair shares: the last half of the tokens is for those that have not had an eighth of the rate, and the
// last quarter for those from where a handshake was finished lately. So an attacker that guesses cookies, each time from
// another prefix, does not use up the tokens of real clients.
type Hellos struct {
	key     Key
	source  Rate
	service Rate
	ports   *Buckets
	sources *Buckets
	shares  *Buckets
	all     Bucket
	known   [buckets]atomic.Uint32 // by prefix: the second after which it is no longer known
}

// NewHellos makes the limits of a service: tokens of a source, and of all together, whose Burst is a second's worth if it
// is 0.
func NewHellos(source, service Rate) *Hellos {
	if service.Burst == 0 {
		service.Burst = max(1, int(service.PerSecond))
	}
	return &Hellos{
		key: NewKey(), source: source, service: service, ports: NewBuckets(portRate), sources: NewBuckets(source),
		shares: NewBuckets(Rate{PerSecond: service.PerSecond / share, Burst: max(1, service.Burst/share)}),
	}
}

// Take takes the tokens that a ClientHello from ip and port needs at time now: all of them, or none.
func (l *Hellos) Take(ip *[16]byte, port uint16, now int64) Outcome {
	var from [18]byte
	n := copy(from[:], Source(ip))
	source := l.key.Of(from[:n])
	end := l.key.Of(binary.BigEndian.AppendUint16(append(from[:0], ip[:]...), port))
	limited := l.source.PerSecond > 0
	if limited && !l.ports.Take(end, now) {
		return OverSource
	}
	outcome := Within
	switch {
	case !l.sources.Take(source, now):
		outcome = OverSource
	case !l.takeShare(ip, now):
		l.sources.Untake(source)
		outcome = OverService
	}
	if limited && outcome != Within {
		l.ports.Untake(end)
	}
	return outcome
}

func (l *Hellos) takeShare(ip *[16]byte, now int64) bool {
	if l.service.PerSecond <= 0 {
		return true
	}
	prefix, keep := l.key.Of(Prefix(ip)), 0
	if l.known[prefix%buckets].Load() < uint32(now/1e9) {
		keep = l.service.Burst / 4
	}
	within := l.shares.Take(prefix, now)
	if !within {
		keep = l.service.Burst / 2
	}
	taken := l.all.TakeAbove(l.service, keep, now)
	if within && !taken {
		l.shares.Untake(prefix)
	}
	return taken
}

// Finished notes that a client from ip finished a handshake at time now.
func (l *Hellos) Finished(ip *[16]byte, now int64) {
	if l.service.PerSecond > 0 {
		l.known[l.key.Of(Prefix(ip))%buckets].Store(uint32(now/1e9) + remembered)
	}
}
