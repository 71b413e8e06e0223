package cookie

// Midstates returns the SHA-256 states after k's inner and outer key pads (RFC 2104 section 2), for an
// implementation of the cookie elsewhere: they serve to make cookies, the secret cannot be got back from them.
func (k *Key) Midstates() (inner, outer [8]uint32) { return k.lanes.Midstates() }
