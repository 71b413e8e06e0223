package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
)

// The command of --on-event is run by a separate process, the runner, which is started before the guard gives up its
// privileges, so that the guard itself needs no permission to execute. The runner has the guard's user and no capabilities. It
// reads events from a pipe, and exits when the pipe is closed.

// runnerName is the hidden command of the runner.
const runnerName = "on-event-runner"

// commandTime bounds the command: long enough to send a message, short enough for the events queued behind it.
const commandTime = 10 * time.Second

// onEvent is the guard's end of a runner.
type onEvent struct {
	pipe io.WriteCloser
	log  *slog.Logger
}

// startRunner starts the runner of a command; nil if there is no command.
func (g *guard) startRunner() (*onEvent, error) {
	if g.OnEvent == "" {
		return nil, nil
	}
	name := ""
	if g.user != nil {
		name = g.user.Name
	}
	cmd := exec.Command("/proc/self/exe", runnerName, "--user", name, "--", g.OnEvent) //nolint:gosec,noctx // it ends with the pipe
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start what runs the command of --on-event: %w", err)
	}
	return &onEvent{pipe, g.Config.Log}, nil
}

// follow passes events to the runner until ctx ends. While the command runs, events wait in the guard's channel.
func (o *onEvent) follow(ctx context.Context, server *frontend.Server) {
	out := json.NewEncoder(o.pipe)
	for at := uint64(0); ; {
		list, missed, more := server.Events().After(at)
		if missed > 0 {
			o.log.Error("the command of --on-event is too slow: events are lost", "lost", missed)
		}
		for i := range list {
			if err := out.Encode(list[i].Environment()); err != nil {
				o.log.Error("the command of --on-event cannot be run any more", "error", err, "hint", "restart the guard")
				return
			}
			at = list[i].Number
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
		}
	}
}

// close ends the runner. It does nothing on a nil onEvent.
func (o *onEvent) close() {
	if o != nil {
		o.pipe.Close()
	}
}

func newRunner() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: runnerName + " COMMAND", Hidden: true, Args: cobra.ExactArgs(1), Short: "Run the command of --on-event",
		RunE: func(cmd *cobra.Command, args []string) error {
			// Only the end of the guard ends the runner, not a signal to the process group.
			signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
			var user *privileges.User
			if name != "" {
				var err error
				if user, err = privileges.LookUp(name); err != nil {
					return hint.Usagef("--user: %w", err)
				}
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if err := privileges.Drop(privileges.Config{User: user, Exec: true, Log: log}); err != nil {
				return err
			}
			if err := adopt(); err != nil {
				return err
			}
			return runCommands(cmd.InOrStdin(), args[0], log)
		},
	}
	cmd.Flags().StringVar(&name, "user", "", "whom to become")
	return cmd
}

// runCommands runs command for each line of JSON, which is a list of variables, one after the other.
func runCommands(in io.Reader, command string, log *slog.Logger) error {
	d := json.NewDecoder(bufio.NewReader(in))
	for {
		var event []string
		if err := d.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := runCommand(command, event); err != nil {
			log.Error("command of --on-event failed", "error", err)
		}
	}
}

// mostOutput is how much is logged of what a command says, in bytes.
const mostOutput = 500

// runCommand runs a shell command, for commandTime at most. When it ends, so does everything that it has started.
func runCommand(command string, event []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, ours(event)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	// A pipe of our own: Wait waits for the shell, not for all that has the other end.
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	before := children()
	err = errors.Join(cmd.Start(), in.Close())
	if err != nil {
		return err
	}
	said := make(chan []byte)
	go func() {
		head, _ := io.ReadAll(io.LimitReader(out, mostOutput))
		_, _ = io.Copy(io.Discard, out)
		said <- head
	}()
	err = cmd.Wait()
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // ESRCH: nobody is left
	killChildren(before)
	_ = out.SetReadDeadline(time.Now().Add(time.Second)) // normally nobody has the other end any more
	head := <-said
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it took longer than %v", commandTime)
	case err != nil:
		return fmt.Errorf("%w: %s", err, head)
	}
	return nil
}

// ours are the variables that an event has. Others, like PATH or LD_PRELOAD, would let a guard that an attacker controls
// choose what is run.
func ours(event []string) (variables []string) {
	for _, v := range event {
		if strings.HasPrefix(v, "DTLSGUARD_") {
			variables = append(variables, v)
		}
	}
	return variables
}

// killChildren ends the children of this process but those in keep. What a command started in another session is among them,
// once adopt was called: the kernel gives it to this process when its own parent has ended.
func killChildren(keep []int) {
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		left := slices.DeleteFunc(children(), func(pid int) bool { return slices.Contains(keep, pid) })
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil) // its children are this process's now
		}
	}
}

// children returns the process IDs of this process's children; none where the kernel does not list them (CONFIG_PROC_CHILDREN).
func children() (pids []int) {
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// adopt makes this process the parent of its descendants whose parents end.
func adopt() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }
