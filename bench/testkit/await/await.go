// Package await has helpers of tests: they wait for conditions, and skip tests whose programs are missing.
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
			t.Fatalf("waited %v in vain for this: %s", patience, what)
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
			t.Fatalf("%s is not installed, and CI must have it (apt-get install %s)", p, packages)
		}
		t.Skipf("%s is not installed (apt-get install %s)", p, packages)
	}
}
