package frontend

import (
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAskHints: a socket that this user may not open is no guard that does not run.
func TestAskHints(t *testing.T) {
	for err, want := range map[error]string{
		&fs.PathError{Err: unix.EACCES}: "root", unix.EPERM: "root",
		unix.ENOENT: "start the guard", unix.ECONNREFUSED: "start the guard",
	} {
		if got := unanswered(err); !strings.Contains(got, want) {
			t.Errorf("%v: hint %q, want %q", err, got, want)
		}
	}
}
