package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newUpgrade() *cobra.Command {
	var control string
	var start time.Duration
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Have another process take the running guard's place, with all its flows", Args: noArgs,
		Long: `upgrade starts the guard's program again, as it is on disk by now, with the same arguments and environment, and
the configuration as it is now. The new process takes over sockets, flows, secrets, harvested cookies and XDP programs;
then the old one ends. No flow ends and no datagram is lost. The process ID changes, which systemd is told.

If the new program does not come to serve, whatever the reason, the old one goes on as if nothing had been, and the exit
status is 1. SIGUSR2 does the same.

Only the path that the guard was started as is started, and only if its file and all directories on the way are root's
alone. That path may be a symbolic link of root's to one of several versions.`,
		Example: `  dtlsguard upgrade
  ln -sfn dtlsguard-0.2.0 /usr/local/bin/dtlsguard && dtlsguard upgrade`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if start <= 0 {
				return hint.Usagef("--timeout %v: want a time", start)
			}
			path := "/upgrade?start=" + start.String()
			done, err := ask[frontend.Upgraded](cmd.Context(), control, "POST", path)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
			return err
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	cmd.Flags().DurationVar(&start, "timeout", frontend.DefaultUpgradeStart, "how long the new program may take to start")
	return cmd
}

// upgrade lets another process replace this one. nil: it serves.
func (g *guard) upgrade(server *frontend.Server, admin adminListeners, l *launcher, u frontend.Upgrade) (done frontend.Upgraded, err error) {
	conn, other, err := handover.Pair()
	if err != nil {
		return done, err
	}
	done.PID, err = l.start(other)
	other.Close()
	if err != nil {
		conn.Close()
		return done, err
	}
	files := make(map[string]int)
	admin.metrics.Hand(metricsListener, g.Metrics, files)
	admin.control.Hand(controlListener, g.Control, files)
	return done, server.HandOver(&frontend.Successor{Conn: conn, Files: files, Start: u.Start, Becoming: newMain, Kill: l.kill})
}

// Names of the admin listeners.
const (
	metricsListener = "metrics"
	controlListener = "control"
)

// stow stores the state with the service manager for the next process, and reports whether it succeeded.
func (g *guard) stow(server *frontend.Server) bool {
	if os.Getenv("FDSTORE") == "" || os.Getenv("NOTIFY_SOCKET") == "" || g.Drain {
		return false // no store: FileDescriptorStoreMax= of systemd.service(5). FDSTORE is systemd's from 254 on, and the unit's before
	}
	queue, err := server.Stow()
	if err == nil {
		err = keep(queue)
	}
	if err != nil {
		g.Config.Log.Error("flows cannot be kept for a restart", "error", err)
	}
	return queue != nil // serving has stopped
}

// openAdmin takes the addresses of metrics and control; what comes to them waits until they serve.
func (g *guard) openAdmin(p *frontend.Predecessor) (admin adminListeners, err error) {
	admin.metrics, err = listenerOf(p, metricsListener, g.Metrics, frontend.OpenMetrics)
	if err != nil {
		return admin, err
	}
	err = admin.metrics.Secure(g.WebConfig, g.Config.Log)
	if err == nil {
		admin.control, err = listenerOf(p, controlListener, g.Control, frontend.OpenControl)
	}
	if err != nil {
		admin.close()
	}
	return admin, err
}

func listenerOf(p *frontend.Predecessor, kind, addr string, open func(string) (*frontend.AdminListener, error)) (*frontend.AdminListener, error) {
	if addr == settings.Off {
		return nil, nil
	}
	if l, err := frontend.AdoptAdmin(p, kind, addr); l != nil || err != nil {
		return l, err
	}
	return open(addr)
}
