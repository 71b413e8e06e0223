package frontend

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// TestSlowSuccessor: a new program that takes too long is said to, with how to give it more time.
func TestSlowSuccessor(t *testing.T) {
	conn, other, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer other.Close()
	n := &Successor{Conn: conn}
	_, err = n.hear(sayHello, time.Millisecond)
	if err == nil || !strings.HasPrefix(err.Error(), "the new program has not started within 1ms") || !strings.Contains(hint.Flags(hint.Of(err)), "--timeout") {
		t.Errorf("%v, hint %q", err, hint.Of(err))
	}
}

// The end of a successor is waited for, whatever it still sends.
func TestEndWaitsForTheSuccessor(t *testing.T) {
	conn, f, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := handover.FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	n := &Successor{Conn: conn, Kill: func() {
		if _, _, err := other.Hear(endTime); err != nil { // else the socket is reset, and what is said below is lost
			t.Error(err)
		}
		for _, m := range []handover.Message{{Say: sayFailed, Files: []string{"that does not come"}}, {Say: sayServing}} {
			if err := other.Tell(m); err != nil {
				t.Error(err)
			}
		}
		other.Close()
	}}
	n.end(io.ErrUnexpectedEOF)
	if m, _, err := conn.Hear(time.Second); !errors.Is(err, io.EOF) {
		t.Errorf("after the end it still says %q, %v", m.Say, err)
	}
}
