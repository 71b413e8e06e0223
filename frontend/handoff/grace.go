package handoff

import (
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// GraceTime is how long a previous secret still maps clients to ports. Meanwhile two forged cookies are right in as many
// tries as there are ports, and not one; so it is as short as a handshake allows: a round trip, and the first two
// retransmissions of a ClientHello after 1 s and 2 s (RFC 6347 section 4.2.4.1).
const GraceTime = 4 * time.Second

// grace notices rotations. The zero grace is ready; it belongs to one worker.
type grace struct {
	ring  *cookie.Keyring
	began time.Time
	clock func() time.Time // nil: time.Now
}

// previous returns the previous secret of k while it still counts. The clock is read at a rotation and where it
// matters: needed says that some cookie is not the current secret's.
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
