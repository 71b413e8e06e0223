package handoff

import (
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// GraceTime is how long a previous secret still maps clients to ports. Meanwhile two forged cookies instead of one are
// right per as many guesses as there are ports, so it is as short as a handshake allows: a round trip, and the first two
// retransmissions of a ClientHello after 1 s and 2 s (RFC 6347 section 4.2.4.1).
const GraceTime = 4 * time.Second

// grace detects rotations. The zero grace is ready to use; it belongs to one worker.
type grace struct {
	ring  *cookie.Keyring
	began time.Time
	clock func() time.Time // nil: time.Now
}

// previous returns the previous secret of k while it still counts. It reads the clock only at a rotation, or if needed:
// some cookie is not the current secret's.
func (g *grace) previous(k *cookie.Keyring, needed bool) *cookie.Key {
	if k != g.ring {
		g.ring, g.began = k, g.now()
	}
	if !needed || k.Previous() == nil || g.now().Sub(g.began) > GraceTime {
		return nil
	}
	return k.Previous()
}

func (g *grace) now() time.Time {
	if g.clock != nil {
		return g.clock()
	}
	return time.Now()
}
