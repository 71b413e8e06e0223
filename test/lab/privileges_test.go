package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
)

// nobody is an ordinary user.
const nobody = 65534

// ordinary makes a command run as an ordinary user with only these capabilities.
func (p *place) ordinary(cmd *exec.Cmd, capabilities ...uintptr) *exec.Cmd {
	p.t.Helper()
	if err := os.Chown(filepath.Dir(p.control), nobody, nobody); err != nil {
		p.t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: capabilities}
	return cmd
}

// capabilities are those that a service unit gives a guard, and the error without each; "" for none.
var capabilities = map[string]struct {
	number  uintptr
	refused string
}{
	"CAP_BPF":       {unix.CAP_BPF, "load BPF programs"},
	"CAP_PERFMON":   {unix.CAP_PERFMON, "load BPF programs"},
	"CAP_NET_ADMIN": {unix.CAP_NET_ADMIN, "load BPF programs"},
	"CAP_NET_RAW":   {unix.CAP_NET_RAW, ""},
}

// An ordinary user's guard with the capabilities does what root's does, and has dropped them when it serves: rotating,
// following its secret file and detaching need none.
func TestOrdinaryUser(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	var all []uintptr
	for _, c := range capabilities {
		all = append(all, c.number)
	}
	for _, answer := range []string{"workers", "xdp"} {
		g := &guard{startCmd(t, p.Middle, p.ordinary(exec.Command(program(), p.arguments(first("--answer", answer)...)...), all...)), p}
		g.ready()
		g.Until("capabilities are dropped", func() bool { return remaining(t, g) == 0 })
		output(t, p.Middle, program(), "secret", "rotate", "--control", p.control)
		c := pion(t, p.Lab, public[0])
		c.ping("an ordinary user answers")
		c.close()
		if p.attached() == "" || len(p.pinned()) == 0 {
			t.Error("nothing is attached, or nothing pinned")
		}
		g.stop()
		p.free()
	}
}

// remaining counts the capabilities that threads have or could gain.
func remaining(t *testing.T, g *guard) (n int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", g.Cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		t.Fatal("no threads: ", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			none := strings.Trim(value, "0 \t\n") == ""
			if slices.Contains([]string{"CapEff", "CapPrm", "CapAmb"}, name) && !none || name == "NoNewPrivs" && none {
				n++
			}
		}
	}
	return n
}

// Which action needs which capability.
func TestEachCapability(t *testing.T) {
	for name, missing := range capabilities {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var others []uintptr
			for _, c := range capabilities {
				if c.number != missing.number {
					others = append(others, c.number)
				}
			}
			cmd := p.ordinary(p.command(first()...), others...)
			if missing.refused != "" {
				p.refused(cmd, exitRun, missing.refused, name)
				p.free()
				return
			}
			startServer(t, p.Middle, public[0])
			cmd = p.ordinary(exec.Command(program(), p.arguments(first("--answer", "workers")...)...), others...)
			g := &guard{startCmd(t, p.Middle, cmd), p}
			g.ready()
			g.Expect("answers of workers leave from another port")
			c := pion(t, p.Lab, public[0])
			c.ping("answered by the other port, which egress rewrites")
			c.close()
			g.stop()
			p.free()
		})
	}
}

// Root's guard becomes another user, and still rotates, follows its secret file and detaches. Its successor
// takes over its state.
func TestBecomesUser(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	mounted := t.TempDir()
	if err := unix.Mount("bpf", mounted, "bpf", 0, "mode=0700"); err != nil { // as systemd mounts it
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) })
	p.pin = filepath.Join(mounted, "dtlsguard")
	secrets := filepath.Join(filepath.Dir(p.control), "secrets")
	write(t, secrets, p.secret())
	told := filepath.Join(filepath.Dir(p.control), "told")
	args := first("--user", "nobody", "--secret-file", secrets, "--handoff", "trust",
		"--on-event", `echo "$DTLSGUARD_EVENT $(id -un) $(grep CapEff /proc/self/status)" >>`+told)
	p.refused(p.command(args...), exitRun, secrets, "permission denied", fmt.Sprintf("chown %d ", nobody))
	for _, f := range []string{filepath.Dir(p.control), secrets} {
		if err := os.Chown(f, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for _, last := range []string{"--keep-attached", "--keep-attached=false"} {
		g := p.run(append(args, last)...)
		g.Until("capabilities are dropped", func() bool { return remaining(t, g) == 0 })
		write(t, secrets, p.secret())
		g.Until("the secret file is reread", func() bool { return g.status().Secrets[0].Rotations == 1 })
		g.Until("the event command runs as the user, without capabilities", func() bool {
			b, _ := os.ReadFile(told)
			return strings.Contains(string(b), "secret-rotated nobody CapEff:\t0000000000000000\n")
		})
		_ = os.Remove(told)
		c := pion(t, p.Lab, public[0])
		c.ping("another user answers")
		c.close()
		g.stop()
		if attached := p.attached() != ""; attached != (last == "--keep-attached") {
			t.Errorf("after %s: attached %v", last, attached)
		}
	}
	p.free()
}

// The pin directory of an earlier guard of another user is taken over; its programs are not.
func TestPinsOfAnother(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	if err := errors.Join(os.Mkdir(p.pin, 0o700), os.Chown(p.pin, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	p.run(first()...).stop()
	p.free()
	pins := bpf.PinDir(p.pin, iface)
	if err := errors.Join(os.Mkdir(pins, 0o700), os.Chown(pins, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	p.refusedBeside(p.command(first()...), exitRun, "belongs to user 65534", "dtlsguard unload --interface "+iface)
	if err := errors.Join(os.Chown(pins, 0, 0), os.Chmod(pins, 0o722)); err != nil {
		t.Fatal(err)
	}
	p.refusedBeside(p.command(first()...), exitRun, "others can write to", "chmod 700")
	output(t, p.Middle, program(), "unload", "--interface", iface, "--pin", p.pin)
	p.run(first()...).stop()
	p.free()
}

// Root without capabilities cannot read another user's secret file: a guard that could not follow it does not start.
func TestSecretFileOfAnother(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	secrets := filepath.Join(t.TempDir(), "secrets")
	write(t, secrets, p.secret())
	if err := os.Chown(secrets, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	args := first("--handoff", "trust", "--secret-file", secrets)
	p.refused(p.command(args...), exitRun, secrets, "permission denied", "chown 0 ")
	p.free()
	if err := os.Chown(secrets, 0, 0); err != nil {
		t.Fatal(err)
	}
	g := p.run(args...)
	g.stop()
}

// Workers have a higher priority than the kernel's receiving threads on their CPUs, with capabilities or without.
func TestWorkersPriority(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	g := p.run(first("--workers", "2")...)
	g.Until("capabilities are dropped", func() bool { return remaining(t, g) == 0 })
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", g.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var ahead int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ") // field 3 and on (proc_pid_stat(5))
		if fields := strings.Fields(rest); fields[19-3] == "-10" {
			ahead++
		}
	}
	if ahead != 2 {
		t.Errorf("%d threads have priority -10, want those of 2 workers", ahead)
	}
}
