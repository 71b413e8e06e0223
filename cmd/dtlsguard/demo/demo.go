// Package demo shows the guard at work on loopback: a real server, the guard, real clients and a flood, with a tap
// between guard and server that counts what reaches the server. Only cmd/dtlsguard uses it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/bench/flood/sockets"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/demo/tap"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// flags are the flags of demo.
type flags struct {
	handshakes int
	rate       int
	timeout    time.Duration
	json       bool
}

// Bounds and sizes of the demo.
const (
	// poolSize: every start of the server means harvesting anew, so the pool is small, and still far larger than
	// the number of clients, which come one at a time.
	poolSize = 256
	// readyWithin is how long the guard may take to notice a server's start: it asks twice per second, and waits 250 ms
	// for each answer. The rest allows for a busy machine.
	readyWithin = 10 * time.Second
	// floodFor is the shortest duration of the flood, so that its rate is meaningful.
	floodFor = 2 * time.Second
)

// Command is "dtlsguard demo".
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch it work: server, guard, clients and a flood, on loopback", Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return hint.Usagef("unexpected argument %q", args[0])
			}
			return nil
		},
		Long: `demo starts an unmodified "openssl s_server -dtls1_2 -listen" with a throw-away certificate, puts
the guard in front of it, and does handshakes with "openssl s_client": first in peace, then during
a flood of ClientHellos from random addresses in 127.0.0.0/8. Each client sends a line and
must get it back from the server. Between guard and server a tap, which knows nothing of the guard,
counts what reaches the server. Needs the openssl command (apt-get install openssl), and no privileges.

Exit status 1: a handshake failed, an answer to the flood was wrong, or some of the flood reached the
server.

What to know when reading the numbers: "openssl s_server -listen" serves one client each time it is
started, with or without a guard, so it is started anew for every handshake, and the guard has to notice. All
parties share this machine's CPUs; a guard on its own host has them for itself. A handshake that takes more than
a second has lost a datagram in the flood, and the client has sent it again, as DTLS clients do.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.IntVar(&f.handshakes, "handshakes", 10, "handshakes before the flood, and as many during it")
	fl.IntVar(&f.rate, "flood-rate", 0, "ClientHellos per second (0: as fast as one CPU sends them)")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Minute, "give up after this")
	fl.BoolVar(&f.json, "json", false, "print the result for programs")
	return cmd
}

func (f *flags) run(ctx context.Context, stdout, stderr io.Writer) error {
	switch {
	case f.handshakes < 1 || f.handshakes > poolSize/4:
		return hint.Usagef("--handshakes %d: want 1 to %d", f.handshakes, poolSize/4)
	case f.rate < 0:
		return hint.Usagef("--flood-rate %d: want 0 or more", f.rate)
	case f.timeout <= 0:
		return hint.Usagef("--timeout %v: want more than 0", f.timeout)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // also clean up when the terminal is closed
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("not done after %v (--timeout)", f.timeout))
	defer cancel()
	d := &demo{flags: f, progress: newProgress(stderr)}
	err := d.run(ctx)
	d.progress.done()
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = context.Cause(ctx)
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	}
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := d.result.print(stdout, f.json); err != nil {
		return err
	}
	if err := d.result.verdict(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// demo is one run.
type demo struct {
	flags    *flags
	progress *progress
	openssl  *openssl
	tap      *tap.Tap
	guard    *frontend.Server
	server   *serverProcess
	harvests uint64 // before the server was started
	result   result
}

// run starts everything, does the handshakes before and during the flood, and cleans up in any case.
func (d *demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "dtlsguard-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the certificate: %w", err)
	}
	defer os.RemoveAll(dir)
	if d.openssl, err = newOpenSSL(dir); err != nil {
		return err
	}
	defer d.openssl.close()
	d.progress.step("starting the server and the guard")
	if d.server, err = d.openssl.startServer(ctx); err != nil {
		return err
	}
	defer func() { d.server.stop() }()
	if d.tap, err = tap.Listen(d.openssl.server, []byte(sockets.Marker)); err != nil {
		return err
	}
	defer d.tap.Close()
	stop, err := d.startGuard(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if d.result.Before, err = d.handshakes(ctx, "before the flood"); err != nil {
		return err
	}
	if err := d.duringFlood(ctx); err != nil {
		return err
	}
	d.result.take(d.tap.Counts(), d.guard.Status())
	return nil
}

// startGuard runs a guard in front of the tap, until stop.
func (d *demo) startGuard(ctx context.Context) (stop func(), err error) {
	d.guard, err = frontend.New(frontend.Config{
		Services: []frontend.Service{{
			Listen: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), Backends: frontend.At(d.tap.Addr()),
		}},
		Settings: frontend.Settings{HarvestPool: poolSize},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.guard.Run(ctx) // a failed guard shows in the handshakes
	}()
	return func() { cancel(); <-done }, nil
}

// handshakes does the handshakes of one phase, one after another. A failed handshake is counted and the others
// continue; an error ends the demo.
func (d *demo) handshakes(ctx context.Context, act string) (p phase, err error) {
	for i := range d.flags.handshakes {
		d.progress.step("%s: handshake %d of %d, %d failed", act, i+1, d.flags.handshakes, p.Tried-p.OK)
		if err := d.freshServer(ctx); err != nil {
			return p, err
		}
		took, err := d.openssl.handshake(ctx, d.guard.Listening()[0], fmt.Sprintf("line %d %s", i+1, act))
		if ctx.Err() != nil {
			return p, ctx.Err()
		}
		p.add(took, err)
		d.server.stop() // it serves only one client
	}
	p.finish()
	return p, nil
}

// freshServer waits until there is a server that has had no client, and the guard knows its cookies.
func (d *demo) freshServer(ctx context.Context) (err error) {
	if !d.server.running() {
		if d.server, err = d.openssl.startServer(ctx); err != nil {
			return err
		}
	}
	for end := time.Now().Add(readyWithin); ; {
		st := d.guard.Status().Services[0].Backends[0]
		if st.Harvests > d.harvests && st.Ready {
			d.harvests = st.Harvests
			return nil
		}
		if why := d.server.failure(); why != nil {
			return why
		}
		if time.Now().After(end) {
			return fmt.Errorf("the guard did not get ready for the server within %v: up %v, %d of %d cookies known", readyWithin, st.Up, st.Known, st.Pool)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond): // short compared with the half second between its questions
		}
	}
}

// duringFlood does the handshakes during the flood.
func (d *demo) duringFlood(ctx context.Context) error {
	f, err := sockets.New(sockets.Config{
		Flow: traffic.Flow{Destination: d.guard.Listening()[0]}, Pace: traffic.Pace{Rate: float64(d.flags.rate)},
	})
	if err != nil {
		return err
	}
	defer f.Close()
	flooding, stop := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() { over <- f.Run(flooding) }()
	d.progress.also(func() string {
		c := f.Counts()
		return fmt.Sprintf("; %s HelloVerifyRequests/s", thousands(perSecond(c.Right, c.Elapsed)))
	})
	d.result.During, err = d.handshakes(ctx, "during the flood")
	if rest := floodFor - f.Counts().Elapsed; err == nil && rest > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(rest):
		}
	}
	stop()
	err = errors.Join(err, <-over)
	d.progress.also(nil)
	d.result.Flood.take(f.Counts())
	return err
}
