package relay

import "encoding/binary"

// Signs is the set of signs of its flow's state in a datagram.
type Signs uint16

// The signs. A client's are claims: they are not authenticated.
const (
	ClientHello     Signs = 1 << iota // a ClientHello of epoch 0
	ClientFlight                      // another handshake message of epoch 0, or a ChangeCipherSpec
	ClientProtected                   // a protected record that is not an alert
	ClientAlert                       // an alert, protected or not
	ServerFlight                      // a handshake message, or a record of DTLS 1.3's handshake epoch
	ServerFinished                    // a protected record of DTLS 1.2
	ServerData                        // application data, or a record of an application epoch of DTLS 1.3
	ServerAlert                       // a protected alert of DTLS 1.2: 1.3 hides the type
	ServerFatal                       // a fatal alert of epoch 0
	Silence                           // no datagram for a tenth of the idle timeout
	ClientReached                     // application data of the server, which mostly waits for the client's Finished (not: a record with a connection ID, which hides its type)
)

// Content and handshake types (RFC 5246, RFC 6347, RFC 9146), and positions in a record.
const (
	typeChangeCipherSpec = 20
	typeAlert            = 21
	typeHandshake        = 22
	typeData             = 23
	typeCID              = 25
	unifiedFirst         = 0x20 // RFC 9147 section 4: 001CSLEE
	unifiedLast          = 0x3f
	unifiedEpoch         = 3 // mask of the epoch's low bits
	handshakeEpoch       = 2 // RFC 9147 section 6.1; 1 is early data, 3 and later application data
	earlyEpoch           = 1
	msgClientHello       = 1
	alertFatal           = 2
	recordHeader         = 13
)

// eachRecord calls f with the records of datagram d that have a plain header. It returns the first byte of a unified
// header if one ends the walk, else 0: its length may be implicit, and what follows is protected as well.
func eachRecord(d []byte, f func(contentType byte, epoch uint16, body []byte)) (unified byte) {
	for len(d) > 0 {
		if d[0] >= unifiedFirst && d[0] <= unifiedLast {
			return d[0]
		}
		if len(d) < recordHeader {
			return 0
		}
		epoch := binary.BigEndian.Uint16(d[3:])
		if d[0] == typeCID { // its length follows a connection ID of unknown length
			f(typeCID, epoch, nil)
			return 0
		}
		end := min(recordHeader+int(binary.BigEndian.Uint16(d[11:])), len(d))
		f(d[0], epoch, d[recordHeader:end])
		d = d[end:]
	}
	return 0
}

// clientSigns returns the signs of a client's datagram.
func clientSigns(d []byte) (signs Signs) {
	unified := eachRecord(d, func(contentType byte, epoch uint16, body []byte) {
		switch {
		case contentType == typeAlert:
			signs |= ClientAlert
		case epoch > 0 || contentType == typeCID:
			signs |= ClientProtected
		case contentType == typeHandshake && len(body) > 0 && body[0] == msgClientHello:
			signs |= ClientHello
		case contentType == typeHandshake, contentType == typeChangeCipherSpec:
			signs |= ClientFlight
		}
	})
	if unified != 0 && unified&unifiedEpoch != earlyEpoch {
		signs |= ClientProtected
	}
	return signs
}

// serverSigns returns the signs of a server's datagram.
func serverSigns(d []byte) (signs Signs) {
	unified := eachRecord(d, func(contentType byte, epoch uint16, body []byte) {
		switch {
		case contentType == typeCID:
			signs |= ServerFinished | ServerData // one of the two
		case contentType == typeAlert && epoch > 0:
			signs |= ServerAlert
		case contentType == typeAlert && len(body) > 0 && body[0] == alertFatal:
			signs |= ServerFatal
		case contentType == typeAlert:
		case contentType == typeData && epoch > 0:
			signs |= ServerFinished | ServerData | ClientReached
		case epoch > 0:
			signs |= ServerFinished
		case contentType == typeHandshake, contentType == typeChangeCipherSpec:
			signs |= ServerFlight
		}
	})
	switch {
	case unified == 0:
	case unified&unifiedEpoch == handshakeEpoch:
		signs |= ServerFlight
	default:
		signs |= ServerData | ClientReached
	}
	return signs
}
