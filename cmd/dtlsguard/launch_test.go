package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
)

// The launcher closes the files of what it does not understand, and ends at what it cannot read, for reading may fail for ever.
func TestLauncherKeepsNothing(t *testing.T) {
	guard, other, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer guard.Close()
	conn, err := handover.FromFile(other)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, say := range []string{"kill", "something else"} {
		if err := guard.Tell(handover.Message{Say: say, Files: []string{"pipe"}}, int(w.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := guard.Tell(handover.Message{Say: "start", Files: []string{"that did not come"}}); err != nil {
		t.Fatal(err)
	}
	launch(conn, "/nonexistent", startRule{}, nil)
	_ = unix.SetNonblock(int(r.Fd()), true)
	if n, err := unix.Read(int(r.Fd()), make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("reading the pipe gives %d, %v: its other end is still open", n, err)
	}
}
