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
	"github.com/dtlsguard/dtlsguard/cmd/internal/version"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
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

XDP needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root. Workers that answer inline do so from the service's
port, for which they need CAP_NET_RAW. After the start the guard drops all capabilities and becomes another user
(--user). With --config it keeps CAP_NET_BIND_SERVICE, for services that a reload adds.

On SIGTERM and SIGINT the guard serves what has arrived and exits with status 0; with --drain it first waits for its
last flow, or a second signal. On SIGHUP it reads the configuration and secret files again. On SIGUSR2 another
process takes over from it (dtlsguard upgrade).`,
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
	flags.Complete(cmd)
	return cmd
}

// hostDefaults returns the defaults that depend on user and host.
func hostDefaults() map[string]string {
	return map[string]string{"control": defaultControl(), "pin": defaultPin()}
}

// newGuard makes the guard that flags, variables and file describe.
func newGuard(ctx context.Context, flags *settings.Flags, stderr io.Writer) (*guard, error) {
	l, err := settings.Load(ctx, flags, hostDefaults())
	if err != nil {
		return nil, err
	}
	g := &guard{Loaded: l, flags: flags}
	if g.Config.Log, err = newLogger(stderr, l.LogFormat, l.LogLevel); err != nil {
		return nil, err
	}
	for _, m := range settings.Misspelt(os.Environ()) {
		g.Config.Log.Warn("a variable names no setting", "hint", m)
	}
	if g.user, err = privileges.LookUp(l.User); err != nil {
		return nil, hint.Usagef("--user: %w", err)
	}
	if g.user != nil {
		g.Config.XDP.Owner = g.user.UID
	}
	g.Config.Shown, g.Config.Build = l.Shown(), metrics.Build(version.Of())
	return g, nil
}

// running is a guard with a server.
type running struct {
	*guard
	server   *frontend.Server
	admin    adminListeners
	launcher *launcher
	manager  *manager
	signals  chan os.Signal
	stops    chan os.Signal // each signal to stop; the first one ends the context of run, too
	drain    chan struct{}  // asked for over the control socket
	gone     chan struct{}  // another process serves in this one's place
	done     chan error     // what server.Run returned
}

// run serves until ctx ends, or the guard cannot go on, or another process serves in its place.
func (g *guard) run(ctx context.Context) error {
	r := &running{
		guard: g, signals: make(chan os.Signal, 1), drain: make(chan struct{}, 1), gone: make(chan struct{}, 1), done: make(chan error, 1),
	}
	signal.Notify(r.signals, syscall.SIGHUP, syscall.SIGUSR2) // from now on, or one during the start would kill
	defer signal.Stop(r.signals)
	r.stops = make(chan os.Signal, 2)
	signal.Notify(r.stops, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(r.stops)
	var err error
	// The admin listeners first: what can be said at once is said before anything takes time.
	if r.admin, err = g.openAdmin(g.Config.Predecessor); err != nil {
		return err
	}
	defer r.admin.close()
	g.sayControl(g.Default("control"))
	runner, err := g.startRunner()
	if err != nil {
		return err
	}
	defer runner.close()
	rule := startRule{guard: os.Geteuid()}
	if g.user != nil {
		rule.guard = g.user.UID
	}
	_, rule.writable = g.directories()
	r.launcher = startLauncher(rule, g.Config.Log)
	defer r.launcher.close()
	if err := privileges.Seal(); err != nil { // before clients wait for this process to take another one's place
		return err
	}
	if r.server, err = frontend.New(g.Config); err != nil {
		return g.Locate(err)
	}
	r.handleRequests()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := r.start(ctx, serving, stop); err != nil {
		return err
	}
	r.manager = newManager(r.server, g.Config.Log)
	go r.manager.watch(serving)
	if runner != nil {
		go runner.follow(serving, r.server)
	}
	return r.wait(ctx, serving, stop)
}

// handleRequests sets the handlers of requests over the control socket.
func (r *running) handleRequests() {
	r.server.OnReload(func(ctx context.Context) (frontend.Config, error) { return r.again(ctx) })
	r.server.OnDrain(func() {
		select {
		case r.drain <- struct{}{}:
		default: // it is under way
		}
	})
	r.server.OnUpgrade(func(u frontend.Upgrade) (frontend.Upgraded, error) {
		done, err := r.upgrade(r.server, r.admin, r.launcher, u)
		if err == nil {
			r.admin.stop() // so that new requests reach the other process
			r.gone <- struct{}{}
		}
		return done, err
	})
}

// start runs the server until the context serving ends, and gives up privileges.
func (r *running) start(ctx, serving context.Context, stop func()) error {
	before := r.Config.Predecessor // which this one replaces once it serves
	if err := before.Adopted(r.Config.Log); err != nil {
		return err // the previous guard's state is not touched
	}
	go func() { r.done <- r.server.Run(serving) }()
	<-r.server.Started() // a priority above the usual needs a capability
	if err := r.drop(r.server, r.admin); err != nil {
		if before.Live() {
			return err
		}
		stop()
		if ctx.Err() != nil { // told to stop meanwhile: the files to hand over are being removed
			return <-r.done
		}
		return errors.Join(err, <-r.done)
	}
	before.Serving()
	r.admin.serve(r.server)
	if before != nil {
		unkeep()
	}
	return nil
}

// wait handles signals and requests until the server has ended, or is in another process.
func (r *running) wait(ctx, serving context.Context, stop func()) error {
	told, draining, stops := ctx.Done(), false, 0
	for {
		select {
		case s := <-r.signals:
			r.signal(serving, s)
		case <-told:
			told = nil // once
			r.manager.stopping()
			if r.stow(r.server) {
				return r.server.Detach()
			}
			if !r.Drain {
				stop()
				continue
			}
			go func() { r.server.Drain(serving); stop() }()
		case <-r.stops:
			if stops++; stops == 2 && r.Drain {
				r.Config.Log.Warn("told to stop again: the flows end now", "flows", r.server.Flows())
				stop()
			}
		case <-r.drain:
			if told != nil && !draining { // once
				go func() { r.server.Drain(serving); stop() }()
			}
			draining = true
		case <-r.gone:
			r.admin.leave()
			return nil // open files are closed with the process; the other one has them, too
		case err := <-r.done:
			r.manager.stopping()
			r.Config.Log.Info("stopped", "flows_ended", r.server.FlowsEnded())
			return err
		}
	}
}

// signal upgrades or reloads; both log and count what fails, and what was in force stays.
func (r *running) signal(serving context.Context, s os.Signal) {
	if s == syscall.SIGUSR2 {
		go func() { _, _ = r.server.Upgrade(frontend.Upgrade{}) }()
		return
	}
	r.manager.reloading()
	_, _ = r.server.Reload(serving)
	r.manager.ready()
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

// adminListeners are nil if they are off.
type adminListeners struct{ metrics, control *frontend.AdminListener }

func (admin adminListeners) serve(server *frontend.Server) {
	admin.metrics.Own()
	admin.control.Own()
	if admin.metrics != nil {
		admin.metrics.Serve(server.MetricsHandler())
	}
	if admin.control != nil {
		admin.control.Serve(server.ControlHandler())
	}
}

func (admin adminListeners) close() {
	admin.metrics.Close()
	admin.control.Close()
}

// stop accepts no more connections; another process has the listeners.
func (admin adminListeners) stop() {
	admin.control.Stop()
	admin.metrics.Stop()
}

// leave finishes requests in progress.
func (admin adminListeners) leave() {
	admin.control.Leave()
	admin.metrics.Leave()
}
