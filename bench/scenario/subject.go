package scenario

import (
	"github.com/dtlsguard/dtlsguard/bench/gen"
)

// Subject is something that is put under a flood.
type Subject struct {
	Name string
	// At is where its answers can be counted: in the driver for XDP, in the stack for sockets.
	At gen.At
	// Start puts it into the bed's guard namespace and has the bed stop it (Defer). Processes of it are
	// confined with Pin; packet processing of the interface is by the bed.
	Start func(*Bed) error
	// Skip says why it cannot be measured here; "": it can.
	Skip string
}
