package relay

// State is how far an association has come. When room is needed, states that cost an attacker little end first: see
// [Table.Victim].
type State uint8

// The states of a flow.
const (
	// HalfOpen: a verified ClientHello was forwarded, the handshake is not finished.
	HalfOpen State = iota
	// Established: the server has shown that it accepted the client's Finished.
	Established
	// Idle: established, and silent for a tenth of the idle timeout.
	Idle
	// Closing: the server sent an encrypted alert and no other record since; most likely a close_notify.
	Closing
	// Over: the server refused the handshake. The next sweep ends the flow.
	Over
	stateLen
)

var stateNames = [stateLen]string{"half-open", "established", "idle", "closing", "over"}

// String is the state's name in metrics and in status.
func (s State) String() string { return stateNames[s] }

// progress is what a flow's handshake has shown.
type progress uint8

const (
	answered        progress = 1 << iota // the server sent anything but a HelloVerifyRequest
	secondFlight                         // the client sent the flight after the server's first one
	clientProtected                      // the client sent a protected record after that, whose keys depend on it
	finished                             // the server sent its Finished (DTLS 1.2)
	proved                               // the server sent what only follows the client's Finished
	unproved                             // nobody knows yet whether the client can be reached at its address
	hasty                                // the server sent application data before the client's protected records
)

// step is the transition function of a flow: the state and the progress after a datagram with signs. Whatever a client's
// datagram claims, it moves a half-open flow no further than the server has confirmed, and closes nothing: anybody can
// spoof it.
func step(s State, p progress, signs Signs) (State, progress) {
	p = advance(p, signs)
	switch s {
	case HalfOpen:
		switch {
		case signs&ServerFatal != 0:
			return Over, p
		case signs&ServerAlert != 0:
			return Closing, p
		case p&proved != 0, p&finished != 0 && p&clientProtected != 0:
			// The second: an abbreviated handshake, where the server's Finished comes first. It needs a
			// session that the server knows; a client that only sends may get nothing more.
			return Established, p
		}
	case Established, Idle:
		switch {
		case signs&ServerAlert != 0: // one of epoch 0 can be the answer to a forged record
			return Closing, p
		case signs&Silence != 0:
			return Idle, p
		}
		return Established, p
	case Closing:
		if signs&(ServerFinished|ServerData) != 0 && signs&ServerAlert == 0 {
			return Established, p // the alert was a warning
		}
	}
	return s, p
}

// advance adds to p what signs prove. In a full DTLS 1.2 handshake the server's Finished follows the client's; in an
// abbreviated one it comes first and proves nothing, but application data does (RFC 5246 section 7.3). A DTLS 1.3 server
// encrypts its first flight, to anybody; records of its third epoch after the client's flight acknowledge that (RFC 9147
// section 7.1). But it may send such records with its first flight, too (RFC 8446 section 2.3): a server that does may go on, whatever
// a forger sends in the client's name, so its data proves no address.
func advance(p progress, signs Signs) progress {
	if signs&(ServerFlight|ServerFinished|ServerData) != 0 {
		p |= answered
	}
	if signs&ServerFinished != 0 {
		if p&secondFlight != 0 && p&finished == 0 {
			p |= proved
		}
		p |= finished
	}
	if signs&ServerData != 0 && p&clientProtected != 0 {
		p |= proved
	}
	if signs&ClientReached != 0 {
		p = reached(p)
	}
	if p&answered == 0 { // what the client sends depends on nothing of the server's
		return p
	}
	if signs&(ClientFlight|ClientProtected) != 0 {
		p |= secondFlight
	}
	if signs&ClientProtected != 0 {
		p |= clientProtected
	}
	return p
}

// reached adds to p what application data of the server proves of the client's address.
func reached(p progress) progress {
	switch {
	case p&clientProtected == 0:
		return p | hasty
	case p&hasty == 0:
		return p &^ unproved
	}
	return p
}
