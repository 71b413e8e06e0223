package sample

// Event is something that is counted once for each client that it happens to.
type Event int

// The events.
const (
	Clients    Event = iota // asked, and answered or given up
	Unanswered              // no answer in time
	Wrong                   // an answer with a fault
	Compared                // a cookie that was compared with those of other sources
	Shared                  // one that another source had before
	Same                    // asked the same again, and got the same cookie
	Changed                 // ... another one: secrets rotated, or cookies have a clock or are random
	Unrepeated              // ... no cookie: the server remembers clients, or it was lost
	Accepted                // returned the cookie, and was taken for a client
	AskedTwice              // ... after being asked for a second cookie
	Refused                 // ... asked for a cookie once more, or got an alert
	Silent                  // ... no answer in time
	EventLen
)

// Names are what the events are called in reports.
var Names = [EventLen]string{
	"clients", "unanswered", "wrong", "compared", "shared", "same", "changed", "unrepeated", "accepted", "asked_twice", "refused", "silent",
}
