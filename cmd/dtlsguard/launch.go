package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// The launcher is a helper process that keeps the privileges that the guard gives up: user, capabilities, system calls. It can
// only start the guard's program again, with the same arguments and environment, and exits with the guard.

// launchCommand is its command; launchFile the number of its file to the guard.
const (
	launchCommand = "launch"
	launchFile    = 3
)

// launcher is the guard's side of it. A nil launcher cannot launch.
type launcher struct{ conn *handover.Conn }

// answerTime is how long the launcher may take to start a program.
const launchTime = 10 * time.Second

var errFirst = hint.Errorf("replace the container, or run the guard under an init (docker run --init)", "this guard is process 1, with which all others end")

// startLauncher starts the launcher, before anything is given up.
func startLauncher(rule startRule, log *slog.Logger) *launcher {
	if os.Getpid() == 1 {
		return nil
	}
	conn, other, err := handover.Pair()
	if err == nil {
		defer other.Close()
		args := append([]string{launchCommand, invoked(), strconv.Itoa(rule.guard)}, rule.writable...)
		args = append(append(args, "--"), os.Args[1:]...)
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Args[0] = os.Args[0]
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdin, os.Stdout, os.Stderr, []*os.File{other}
		err = cmd.Start()
	}
	if err != nil {
		log.Warn("upgrades are not possible: their helper process could not be started", "error", err)
		return nil
	}
	return &launcher{conn}
}

// invoked returns the path that the program was called by: at the next upgrade it may be a newer program.
func invoked() string {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		path, _ = os.Executable()
	}
	return path
}

// start starts the program that is now at the guard's own path, which gets other.
func (l *launcher) start(other *os.File) (pid int, err error) {
	switch {
	case l == nil && os.Getpid() == 1:
		return 0, errFirst
	case l == nil:
		return 0, errors.New("the helper process that starts programs is not there")
	}
	err = l.conn.Tell(handover.Message{Say: "start", Files: []string{"handover"}}, int(other.Fd()))
	var m handover.Message
	if err == nil {
		m, _, err = l.conn.Hear(launchTime)
	}
	switch {
	case err != nil:
		return 0, hint.Errorf("restart the guard", "the helper process that starts programs is gone: %w", err)
	case m.Hint != "":
		return 0, hint.Errorf(m.Hint, "%s", m.Error)
	case m.Error != "":
		return 0, errors.New(m.Error)
	}
	return m.PID, nil
}

// kill ends the program that was started last.
func (l *launcher) kill() { _ = l.conn.Tell(handover.Message{Say: "kill"}) }

func (l *launcher) close() {
	if l != nil {
		l.conn.Close()
	}
}

func newLaunch() *cobra.Command {
	return &cobra.Command{
		Use: launchCommand, Hidden: true, Short: "Start a guard's next program: run starts this itself", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			conn, err := handover.FromFD(launchFile)
			at := slices.Index(args, "--")
			if err != nil || at < 2 {
				return hint.Usagef("this command is not for people: dtlsguard run starts it (dtlsguard run --help)")
			}
			guard, err := strconv.Atoi(args[1])
			if err != nil {
				return hint.Usagef("user %s: %w", args[1], err)
			}
			// Signals to the process group are for the guard to handle; the launcher ends when its file is closed.
			signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
			launch(conn, args[0], startRule{guard, args[2:at]}, args[at+1:])
			return nil
		},
	}
}

// launch starts programs until the guard ends, or sends what cannot be read.
func launch(conn *handover.Conn, own string, rule startRule, args []string) {
	const forever = 100 * 365 * 24 * time.Hour
	var last *os.Process
	for {
		m, files, err := conn.Hear(forever)
		if err != nil { // no guard says what cannot be read, and reading may go on to fail
			return
		}
		switch {
		case m.Say == "kill" && last != nil && len(files) == 0:
			_ = last.Kill()
		case m.Say == "start" && len(files) == 1:
			other := os.NewFile(uintptr(files[0]), "handover")
			answer := handover.Message{Say: "started"}
			if err := rule.check(own); err != nil {
				answer.Error, answer.Hint = hint.Line(err), hint.Of(err)
			} else if last, err = startGuard(own, args, other); err != nil {
				answer.Error = fmt.Sprintf("start %s: %v", own, err)
			} else {
				answer.PID = last.Pid
				go func(p *os.Process) { _, _ = p.Wait() }(last)
			}
			other.Close()
			_ = conn.Tell(answer)
		default:
			for _, fd := range files {
				_ = unix.Close(fd)
			}
		}
	}
}

// startGuard starts the program with this one's arguments and environment, except for what belongs to a single process.
func startGuard(path string, args []string, other *os.File) (*os.Process, error) {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "WATCHDOG_PID", frontend.HandoverVariable}, name)
	})
	env = append(env, fmt.Sprintf("%s=%d", frontend.HandoverVariable, launchFile))
	return os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, other}})
}
