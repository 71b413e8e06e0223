package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/bench/peers"
)

// Subject is something that is put under a flood.
type Subject struct {
	Name string
	// At is where its answers can be counted: in the driver for XDP, in the stack for sockets.
	At gen.At
	// Start puts it into the bed's guard namespace and has the bed stop it (Defer). Processes of it are
	// confined with Pin; packet processing of the interface is by the bed.
	Start func(*Bed) error
	// Handled is what counts of a run, per second: right answers, answers of any kind, or packets received.
	Handled func(*Run) float64
	// Skip says why it cannot be measured here; "": it can.
	Skip string
}

// What may count.
func rightAnswers(r *Run) float64    { return r.Right }
func allAnswers(r *Run) float64      { return r.Answers }
func packetsReceived(r *Run) float64 { return r.Received }

// swapSubject is the limit of answers in the driver. All that it receives counts, even what the way back had no
// room for, so that the limit is not set too low.
func swapSubject() *Subject {
	return &Subject{Name: "bare XDP_TX swap", At: gen.Driver, Start: attach(peers.Swap), Handled: packetsReceived}
}

// dropSubject is the limit of drops in the driver.
func dropSubject() *Subject {
	return &Subject{Name: "bare XDP_DROP", At: gen.Driver, Start: attach(peers.Drop), Handled: packetsReceived}
}

func attach(program func(device string) (func() error, error)) func(*Bed) error {
	return func(b *Bed) error {
		return b.Lab.Guard.Do(func() error {
			detach, err := program(b.Front())
			if err != nil {
				return err
			}
			b.Defer(detach)
			return nil
		})
	}
}

// serverSubject is a server with sockets, compiled into dir.
func serverSubject(name, dir string) *Subject {
	for _, s := range peers.Servers {
		if s.Name != name {
			continue
		}
		subject := &Subject{Name: s.Title, At: gen.Stack, Handled: rightAnswers}
		if !s.Answers {
			subject.Handled = allAnswers
		}
		binary, err := s.Build(dir)
		if err != nil {
			subject.Skip = err.Error()
		}
		subject.Start = func(b *Bed) error {
			return b.serve(exec.Command(binary, b.Service.Addr().String(), fmt.Sprint(b.Service.Port())), b.Service)
		}
		return subject
	}
	return &Subject{Name: name, Skip: "there is no such peer"}
}

// serve starts a server in the guard's namespace, confines it, and waits until it listens at address.
func (b *Bed) serve(cmd *exec.Cmd, address netip.AddrPort) error {
	if err := b.neighbour(); err != nil {
		return err
	}
	var log strings.Builder
	cmd.Stderr = &log
	if err := b.Lab.Guard.Start(cmd); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	b.Defer(func() error {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-ended
		return nil
	})
	if err := b.Pin(cmd.Process.Pid); err != nil {
		return err
	}
	const patience = 10 * time.Second // a daemon that probes a server and loads programs may take one or two
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if listens(cmd.Process.Pid, address.Port()) {
			return nil
		}
	}
	return fmt.Errorf("%s does not listen at %v: %s", filepath.Base(cmd.Path), address, log.String())
}

// listens reports whether the network namespace of a process has a UDP socket of that port.
func listens(pid int, port uint16) bool {
	for _, file := range []string{"udp", "udp6"} {
		table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file))
		if err == nil && strings.Contains(string(table), fmt.Sprintf(":%04X ", port)) {
			return true
		}
	}
	return false
}
