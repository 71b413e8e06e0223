package answer

// Fault is what is wrong with an answer.
type Fault uint8

// The faults. Of several, the first in this order is told.
const (
	None       Fault = iota // it is the HelloVerifyRequest that its question must get
	Kind                    // it is not a HelloVerifyRequest
	Lengths                 // its lengths disagree with each other, or it is a fragment
	Cookie                  // no cookie
	Version                 // neither 1.0 nor 1.2
	RecordSeq               // another record sequence number than the question's
	MessageSeq              // another message_seq than the question's
	Length                  // the datagram is longer than the question: an amplifier
	FaultLen
)

// Names are what the faults are called in reports.
var Names = [FaultLen]string{"none", "kind", "lengths", "cookie", "version", "record_seq", "message_seq", "length"}

// String is the fault's name.
func (f Fault) String() string { return Names[f] }
