package answer

// Fault is what is wrong with an answer.
type Fault uint8

// The faults, most serious first: Check returns the first that applies.
const (
	None       Fault = iota // the HelloVerifyRequest that the question requires
	Kind                    // not a HelloVerifyRequest
	Lengths                 // lengths that contradict each other, or a fragment
	Cookie                  // no cookie
	Version                 // neither 1.0 nor 1.2
	RecordSeq               // not the record sequence number of the question
	MessageSeq              // not the message_seq of the question
	Length                  // longer than the question: amplification
	FaultLen
)

// Names are the words for faults in reports.
var Names = [FaultLen]string{"none", "kind", "lengths", "cookie", "version", "record_seq", "message_seq", "length"}

// String is the fault's name in reports.
func (f Fault) String() string { return Names[f] }
