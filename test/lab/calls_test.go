package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/privileges"
)

// A line of `strace -f -o`: the thread, the call, its arguments and its result.
var traced = regexp.MustCompile(`^\d+ +(\w+)\((.*)`)

// Each system call that a serving guard makes is allowed by its filter and is named here: whoever adds a
// call sees this test fail and adds it to the filter.
func TestSystemCalls(t *testing.T) {
	need(t, "strace")
	needed := strings.Fields(`
		clone clock_gettime exit exit_group futex getpid getrandom getrusage gettid madvise mmap munmap nanosleep prctl
		restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield sigaltstack tgkill
		epoll_create1 epoll_ctl epoll_pwait eventfd2 pipe2
		accept4 bind connect getpeername getsockname getsockopt recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto setsockopt socket
		close fcntl fstat getdents64 lseek newfstatat openat pread64 read readlinkat statfs unlinkat write
		bpf`)
	for _, shape := range []string{"inline", "proxy"} {
		t.Run(shape, func(t *testing.T) {
			p := newPlace(t)
			dir := filepath.Dir(p.control)
			trace, secrets := filepath.Join(dir, "trace"), filepath.Join(dir, "secrets")
			write(t, secrets, p.secret())
			args := first("--handoff", "trust", "--secret-file", secrets)
			if shape == "proxy" {
				startServer(t, p.Server, behind[0])
				args = append(proxy()[:4], args[2:]...)
			} else {
				startServer(t, p.Middle, public[0])
			}
			run := p.arguments(args...)
			run = append(run, "--metrics-listen", "127.0.0.1:9477")
			cmd := exec.Command("strace", append([]string{"-f", "-qq", "-o", trace, program()}, run...)...)
			cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // strace is slow enough
			g := &guard{startCmd(t, p.Middle, cmd), p}
			g.ready()
			write(t, secrets, p.secret())
			g.Until("the secret file is reread", func() bool { return g.status().Secrets[0].Rotations == 1 })
			c := pion(t, p.Lab, public[0])
			c.ping("every call is allowed")
			c.close()
			output(t, p.Middle, "curl", "-s", "-o", "/dev/null", "http://127.0.0.1:9477/metrics")
			output(t, p.Middle, program(), "status", "--control", p.control)
			output(t, p.Middle, "sh", "-c", fmt.Sprintf("kill -TERM $(cat /proc/%d/task/*/children)", g.Cmd.Process.Pid))
			if status := g.End(); status != 0 {
				t.Errorf("exit status %d", status)
			}
			p.free()
			seen := callsAfterDrop(t, trace)
			if len(seen) < 15 {
				t.Fatalf("only %v were traced", seen)
			}
			allowed := privileges.Allowed()
			for _, name := range seen {
				if !slices.Contains(allowed, name) {
					t.Errorf("%s is refused", name)
				}
				if !slices.Contains(needed, name) {
					t.Errorf("%s is not named in this test", name)
				}
			}
			t.Logf("made: %v", seen)
		})
	}
}

// callsAfterDrop returns the names of the calls made after the filter was installed.
func callsAfterDrop(t *testing.T, trace string) (names []string) {
	t.Helper()
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(b), "seccomp(SECCOMP_SET_MODE_FILTER")
	if !ok {
		t.Fatal("no filter was installed")
	}
	for line := range strings.Lines(after) {
		m := traced.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if !slices.Contains(names, m[1]) {
			names = append(names, m[1])
		}
		if m[1] == "epoll_ctl" {
			continue // epoll refuses regular files; Go tries each file
		}
		if strings.Contains(m[2], "= -1 EPERM") || strings.Contains(m[2], "= -1 EACCES") {
			t.Errorf("refused: %s", strings.TrimSpace(line))
		}
	}
	slices.Sort(names)
	return names
}
