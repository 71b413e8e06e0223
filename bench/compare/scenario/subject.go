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

// Subject is something that is put under a flood.
type Subject struct {
	Name string
	// At is where its answers can be counted: in the driver for XDP, in the stack for sockets.
	At xdp.At
	// Start puts it into the testbed's guard namespace and has the testbed stop it (Defer). Processes of it are
	// confined with Pin; packet processing of the interface is by the testbed.
	Start func(*Testbed) error
	// Handled is what counts of a run, per second: right answers, answers of any kind, or packets received.
	Handled func(*result.Run) float64
	// Rates to try, the best of which counts, with what comes out of the wire and not what a core could do;
	// nil: all that the generator can.
	Rates []float64
	tried bool // and peak is the one that was best the last time
	peak  int
	// Wall has what comes out of the wire count, in overload too.
	Wall bool
	// Template of the flood, if it is another than the comparison's.
	Template *xdp.Template
	// Source of the whole flood, if it is to be one.
	Source netip.AddrPort
	// Shared are the CPUs that the subject has together with the generator, one queue of the link for each; nil: it
	// has the CPU under test for itself.
	Shared []int
	// Clients: real ones come during the flood. They come first on the CPU that they share with its generator.
	Clients bool
	// Beyond: the service is in the server's namespace, and the guard's is on the way to it.
	Beyond bool
	// Skip says why it cannot be measured here; "": it can.
	Skip string
}

// What may count.
func rightAnswers(r *result.Run) float64    { return r.Right }
func allAnswers(r *result.Run) float64      { return r.Answers }
func packetsReceived(r *result.Run) float64 { return r.Received }

// swapSubject is the limit of answers in the driver. All that it receives counts, even what the way back had no
// room for, so that the limit is not set too low.
func swapSubject() *Subject {
	return &Subject{Name: "bare XDP_TX swap", At: xdp.Driver, Start: attach(peers.Swap), Handled: packetsReceived}
}

// roundSubject is the same with the same packets going back and forth: more than a generator can send and take back.
func roundSubject() *Subject {
	s := swapSubject()
	s.Name, s.At = "bare XDP_TX swap, going round", xdp.Return
	return s
}

// dropSubject is the limit of drops in the driver.
func dropSubject() *Subject {
	return &Subject{Name: "bare XDP_DROP", At: xdp.Driver, Start: attach(peers.Drop), Handled: packetsReceived}
}

// lookSubject drops the same and sees what it drops.
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
// service managers give: Linux shares the CPU between sessions first (sched(7), autogroup), and in the session of the
// benchmark a server would have a part of what the benchmark has on the other CPU.
func (b *Testbed) start(where *lab.Namespace, cmd *exec.Cmd, ready func() bool) error {
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := where.Start(cmd); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // that it ended is all that matters: it is killed, or the log says why
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
