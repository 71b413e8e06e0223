package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// manager reports the guard's state to the service manager (sd_notify(3)), if there is one.
type manager struct {
	server  guarding
	log     *slog.Logger
	every   time.Duration // of the watchdog; 0: none
	said    string        // the status that was told last
	stalled bool
}

// guarding is the part of a Server that manager reports.
type guarding interface {
	Alive() error
	Readiness() []frontend.Readiness
	Flows() int
}

// statusEvery is how often the line that `systemctl status` shows is written, if it has changed.
const statusEvery = 5 * time.Second

func newManager(server guarding, log *slog.Logger) *manager {
	m := &manager{server: server, log: log}
	if d, err := daemon.SdWatchdogEnabled(false); err == nil {
		m.every = d / 3 // so that a late ping does no harm
	}
	m.ready()
	return m
}

// notify sends changes; there may be no listener.
func (m *manager) notify(state string) { _, _ = daemon.SdNotify(false, state) }

// ready reports that the guard serves.
func (m *manager) ready() { m.notify(daemon.SdNotifyReady + "\nSTATUS=" + m.status()) }

// reloading says that a reload is under way; Type=notify-reload wants the time of it.
func (m *manager) reloading() {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	m.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, t.Nano()/1000))
}

func (m *manager) stopping() { m.notify(daemon.SdNotifyStopping) }

// status describes the guard in one line.
func (m *manager) status() string {
	ready, all := 0, m.server.Readiness()
	for _, r := range all {
		if r.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d of %d services ready, %d flows", ready, len(all), m.server.Flows())
}

// watch pings the watchdog while the guard is alive (a stalled worker ends that), and reports the status.
func (m *manager) watch(ctx context.Context) {
	every := statusEvery
	if m.every > 0 {
		every = min(every, m.every)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.look()
		}
	}
}

// look sends a ping and the status, as needed.
func (m *manager) look() {
	if s := m.status(); s != m.said {
		m.said = s
		m.notify("STATUS=" + s)
	}
	err := m.server.Alive()
	if err != nil && !m.stalled {
		m.log.Error("the guard stalls; the watchdog is no longer told that it is alive", "error", err)
	}
	if m.stalled = err != nil; !m.stalled && m.every > 0 {
		m.notify(daemon.SdNotifyWatchdog)
	}
}
