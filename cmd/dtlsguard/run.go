package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
)

// guard is one run of the guard.
type guard struct {
	*settings.Loaded
	flags *settings.Flags
	user  *privileges.User // to become; nil: none
}

func newRun() *cobra.Command {
	var flags *settings.Flags
	cmd := &cobra.Command{
		Use: "run", Short: "Protect DTLS servers", Args: noArgs,
		Long: `run with --listen and --backend is a proxy: it owns the public address and relays verified clients to
the server. It needs no privileges; with --interface, which adds XDP, it needs those of XDP.

run with --protect and --interface is inline: the server on this host keeps its port, and XDP passes
verified clients, whose own addresses the server sees.

With --config it reads services from a file; each may have its own settings.

XDP needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root. All capabilities are dropped when all is open,
and the process becomes another user (--user). With --config CAP_NET_BIND_SERVICE is kept, for services that a reload adds.

On SIGTERM and SIGINT the guard serves what has arrived and exits with status 0. On SIGHUP it reads the configuration
and secret files again. On SIGUSR2 another process takes over from it (dtlsguard upgrade).`,
		Example: `  dtlsguard run --listen :4433 --backend 127.0.0.1:4434
  dtlsguard run --protect 192.0.2.7:4433 --interface eth0
  dtlsguard run --listen 192.0.2.7:5684 --backend 127.0.0.1:5685 --listen [2001:db8::7]:5684 --backend [::1]:5685
  dtlsguard run --config /etc/dtlsguard/dtlsguard.toml`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			before, err := frontend.FindPredecessor()
			if err != nil {
				return err
			}
			g, err := newGuard(cmd.Context(), flags, cmd.ErrOrStderr())
			if err == nil {
				g.Config.Predecessor = before
				err = g.run(cmd.Context())
			}
			before.Fail(err)
			return err
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	flags = settings.Register(fl, hostDefaults())
	return cmd
}

// hostDefaults are those that depend on who runs the guard, and where.
func hostDefaults() map[string]string {
	return map[string]string{"control": defaultControl(), "pin": defaultPin()}
}

// newGuard is the guard that flags, variables and file describe.
func newGuard(ctx context.Context, flags *settings.Flags, stderr io.Writer) (*guard, error) {
	l, err := settings.Load(ctx, flags, hostDefaults())
	if err != nil {
		return nil, err
	}
	g := &guard{Loaded: l, flags: flags}
	if g.Config.Log, err = newLogger(stderr, l.LogFormat, l.LogLevel); err != nil {
		return nil, err
	}
	if g.user, err = privileges.LookUp(l.User); err != nil {
		return nil, hint.Usagef("--user: %w", err)
	}
	if g.user != nil {
		g.Config.XDP.Owner = g.user.UID
	}
	g.Config.Shown, g.Config.Build = l.Shown(), build()
	return g, nil
}

// run serves until ctx ends, or the guard cannot go on, or another process serves in its place.
func (g *guard) run(ctx context.Context) error {
	signals := make(chan os.Signal, 1) // from now on, or one during the start would kill
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)
	before := g.Config.Predecessor // whose place this one takes when it serves
	// The admin listeners first: what can be said at once is said before anything takes time.
	doors, err := g.openDoors(before)
	if err != nil {
		return err
	}
	defer doors.close()
	runner, err := g.startRunner()
	if err != nil {
		return err
	}
	defer runner.close()
	server, err := frontend.New(g.Config)
	if err != nil {
		return g.Locate(err)
	}
	server.OnReload(func(ctx context.Context) (frontend.Config, error) { return g.again(ctx) })
	_, writable := g.directories()
	launcher := startLauncher(writable, g.Config.Log)
	defer launcher.close()
	gone := make(chan struct{}, 1)
	drain := make(chan struct{}, 1)
	server.OnDrain(func() {
		select {
		case drain <- struct{}{}:
		default: // it is under way
		}
	})
	server.OnUpgrade(func(u frontend.Upgrade) (frontend.Upgraded, error) {
		done, err := g.upgrade(server, doors, launcher, u)
		if err == nil {
			doors.stop() // so that whoever asks from now on asks the other one
			gone <- struct{}{}
		}
		return done, err
	})
	if err := before.Adopted(g.Config.Log); err != nil {
		return err // what the guard before has is not touched
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan error, 1)
	go func() { done <- server.Run(serving) }()
	<-server.Started() // a priority above the usual needs a capability
	if err := g.drop(server, doors); err != nil {
		if before.Live() {
			return err
		}
		stop()
		if ctx.Err() != nil { // told to stop meanwhile: what it was to own is being removed
			return <-done
		}
		return errors.Join(err, <-done)
	}
	before.Serving()
	doors.serve(server)
	if before != nil {
		unkeep()
	}
	manager := newManager(server, g.Config.Log)
	go manager.watch(serving)
	if runner != nil {
		go runner.follow(serving, server)
	}
	told, draining := ctx.Done(), false
	for {
		select {
		case s := <-signals:
			if s == syscall.SIGUSR2 {
				go func() { _, _ = server.Upgrade(frontend.Upgrade{}) }() // logged and counted
				continue
			}
			manager.reloading()
			_, _ = server.Reload(serving) // logged and counted; what was in force stays
			manager.ready()
		case <-told:
			told = nil // once
			manager.stopping()
			if g.stow(server) {
				return server.Detach()
			}
			if !g.Drain {
				stop()
				continue
			}
			go func() { server.Drain(serving); stop() }()
		case <-drain:
			if told != nil && !draining { // once
				go func() { server.Drain(serving); stop() }()
			}
			draining = true
		case <-gone:
			doors.leave()
			return nil // what is open closes with the process, and lives on in the other one
		case err := <-done:
			manager.stopping()
			g.Config.Log.Info("stopped", "flows_ended", server.FlowsEnded())
			return err
		}
	}
}

// again reads the configuration again, for a reload.
func (g *guard) again(ctx context.Context) (frontend.Config, error) {
	l, err := settings.Load(ctx, g.flags, hostDefaults())
	if err != nil {
		return frontend.Config{}, err
	}
	c := l.Config
	c.Log, c.XDP.Owner, c.Shown = g.Config.Log, g.Config.XDP.Owner, l.Shown()
	return c, l.Locate(c.Check())
}

// doors are those that are not off.
type doors struct{ metrics, control *frontend.AdminListener }

func (d doors) serve(server *frontend.Server) {
	d.metrics.Own()
	d.control.Own()
	if d.metrics != nil {
		d.metrics.Serve(server.MetricsHandler())
	}
	if d.control != nil {
		d.control.Serve(server.ControlHandler())
	}
}

func (d doors) close() {
	d.metrics.Close()
	d.control.Close()
}

// stop lets nobody in any more; another process has the doors.
func (d doors) stop() {
	d.control.Stop()
	d.metrics.Stop()
}

// leave ends what is being answered.
func (d doors) leave() {
	d.control.Leave()
	d.metrics.Leave()
}
