package frontend

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const autogroup = "/proc/self/autogroup"

// TestPreferSession has this program started once more, as the leader of a session and as a member of one.
func TestPreferSession(t *testing.T) {
	const child = "PREFER_SESSION"
	if os.Getenv(child) != "" {
		setAutogroupNice(-10, slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug})))
		group, err := os.ReadFile(autogroup)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("now %s", group)
		return
	}
	own, err := os.ReadFile(autogroup)
	if err != nil {
		t.Skip("this kernel has no groups by session: ", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("a priority above the usual needs CAP_SYS_NICE")
	}
	for _, leader := range []bool{true, false} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestPreferSession$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: leader}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		want := "nice -10\n"
		if !leader {
			want = string(own)
		}
		if !strings.Contains(string(out), want) {
			t.Errorf("leads its session %t: want %s, got:\n%s", leader, want, out)
		}
		if got := strings.Contains(string(out), "setsid"); got == leader {
			t.Errorf("leads its session %t: says what to do %t:\n%s", leader, got, out)
		}
	}
}
