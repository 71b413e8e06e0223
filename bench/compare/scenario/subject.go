package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// Subject is something that is measured under a flood.
type Subject struct {
	Name string
	// At is where its answers are counted: in the driver for XDP, in the stack for sockets.
	At xdp.At
	// Start starts it in the testbed's guard namespace and registers its stop (Defer). Its processes are
	// confined with Pin; the testbed does so with the packet processing of the interface.
	Start func(*Testbed) error
	// Handled is the rate that counts: right answers, answers of any kind, or packets received.
	Handled func(*result.Run) float64
	// Rates to try, the best of which counts, by the rate on the wire and not by what a core could do;
	// nil: as fast as the generator can.
	Rates []float64
	tried bool // peak is the best rate of the previous run
	peak  int
	// Wall makes the rate on the wire count, in overload as well.
	Wall bool
	// Template of the flood, if it differs from the comparison's.
	Template *xdp.Template
	// Source of the whole flood, if it is to be one.
	Source netip.AddrPort
	// Shared are the CPUs that the subject shares with the generator, each with a queue of the link; nil: it
	// has the CPU under test for itself.
	Shared []int
	// Clients: real clients run during the flood, with precedence on the CPU that they share with its generator.
	Clients bool
	// Beyond: the service is in the server's namespace, behind the guard's.
	Beyond bool
	// Skip is the reason why it cannot be measured here; "" if it can.
	Skip string
}

// Values for Handled.
func rightAnswers(r *result.Run) float64    { return r.Right }
func allAnswers(r *result.Run) float64      { return r.Answers }
func packetsReceived(r *result.Run) float64 { return r.Received }

// swapSubject is the limit of answers in the driver. Everything that it receives counts, even what the link back had no
// room for, so that the limit is not set too low.
func swapSubject() *Subject {
	return &Subject{Name: "bare XDP_TX swap", At: xdp.Driver, Start: attach(peers.Swap), Handled: packetsReceived}
}

// roundSubject is the same with the same packets sent back and forth: more than a generator can send and receive.
func roundSubject() *Subject {
	s := swapSubject()
	s.Name, s.At = "bare XDP_TX swap, going round", xdp.Return
	return s
}

// dropSubject is the limit of drops in the driver.
func dropSubject() *Subject {
	return &Subject{Name: "bare XDP_DROP", At: xdp.Driver, Start: attach(peers.Drop), Handled: packetsReceived}
}

// lookSubject drops the same after reading the first byte.
func lookSubject() *Subject {
	return &Subject{Name: "bare look at the first byte", At: xdp.Driver, Start: attach(peers.Look), Handled: packetsReceived}
}

func attach(program func(device string) (func() error, error)) func(*Testbed) error {
	return func(b *Testbed) error {
		return b.Lab.Middle.Do(func() error {
			detach, err := program(b.Front())
			if err != nil {
				return err
			}
			b.Defer(detach)
			return nil
		})
	}
}

// serve starts a server in the guard's namespace, waits until it is ready, and confines it.
func (b *Testbed) serve(cmd *exec.Cmd, ready func() bool) error {
	if err := b.neighbour(); err != nil {
		return err
	}
	if err := b.start(b.Lab.Middle, cmd, ready); err != nil {
		return err
	}
	return b.Pin(cmd.Process.Pid)
}

// start starts a process in a namespace until the testbed is closed, and waits until it is ready. It has a session of its own, as
// from a service manager: Linux shares the CPU between sessions first (sched(7), autogroup), and in the session of the
// benchmark a server would share what the benchmark gets on the other CPU.
func (b *Testbed) start(where *lab.Namespace, cmd *exec.Cmd, ready func() bool) error {
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := where.Start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its status does not matter: it is killed, or the log has the reason
		close(ended)
	}()
	b.Defer(func() error {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-ended
		return nil
	})
	const patience = 10 * time.Second // a daemon that probes a server and loads programs may take one or two
	for end := time.After(patience); ; {
		select {
		case <-ended:
			return fmt.Errorf("%s has ended: %s", filepath.Base(cmd.Path), log.String())
		case <-end:
			return fmt.Errorf("%s is not ready after %v", filepath.Base(cmd.Path), patience)
		case <-time.After(10 * time.Millisecond):
			if ready() {
				return nil
			}
		}
	}
}
