// Package await has helpers for tests, which wait for conditions, and skip tests whose programs or privileges are missing.
package await

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// Patience is how long a test waits for what must happen. Loopback takes milliseconds; a retransmission takes a second, the
// next one two more, and a busy machine much longer.
const Patience = time.Minute

// Eventually fails the test if the condition what is not true within Patience.
func Eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	Within(t, Patience, what, done)
}

// Within fails the test if the condition what is not true within that time.
func Within(t *testing.T, patience time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// Need skips the test if a program is missing, and fails it in CI; packages are those that have them.
func Need(t *testing.T, packages string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed, which CI needs (apt-get install %s)", p, packages)
		}
		t.Skipf("%s is not installed (apt-get install %s)", p, packages)
	}
}

// Require skips the test if err says that what is missing, and fails it with DTLSGUARD_REQUIRE_BPF=1, where nothing may be
// missing.
func Require(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("DTLSGUARD_REQUIRE_BPF") != "":
		t.Fatalf("needs %s: %v", what, err)
	default:
		t.Skipf("needs %s: %v", what, err)
	}
}
