package frontend

import (
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
