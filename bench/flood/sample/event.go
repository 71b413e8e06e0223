package sample

// Event is counted once per client that it happens to.
type Event int

// The events.
const (
	Clients    Event = iota // finished: answered, or timed out
	Unanswered              // no answer in time
	Wrong                   // the answer has a fault
	Compared                // the cookie was compared with those of other sources
	Shared                  // another source had the same cookie
	Same                    // the repeated question got the same cookie
	Changed                 // ... another one: secrets rotated, or cookies have a clock or are random
	Unrepeated              // ... no cookie: the server remembers clients, or the datagram was lost
	Accepted                // the server accepted the returned cookie
	AskedTwice              // ... after a second cookie exchange
	Refused                 // ... the server asked for a third cookie, or sent an alert
	Silent                  // ... no answer in time
	EventLen
)

// Names are the words for events in reports.
var Names = [EventLen]string{
	"clients", "unanswered", "wrong", "compared", "shared", "same", "changed", "unrepeated", "accepted", "asked_twice", "refused", "silent",
}
