package frontend

import (
	"context"
	"errors"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/events"
)

func (k *kernel) attached() bpf.AttachMode    { return bpf.AttachMode(k.mode.Load()) }
func (k *kernel) setMode(mode bpf.AttachMode) { k.mode.Store(int32(mode)) }

// beat tells the programs that the daemon is alive until ctx ends, and of back ends that came back after a restart with
// another way to be handed clients.
func (k *kernel) beat(ctx context.Context, services func() []*service, clock func() int64) {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		k.guard.Heartbeat()
		k.look()
		k.beaten.Store(clock())
		for _, v := range services() {
			k.follow(v)
		}
	}
}

// look sees whether the programs are still where they were attached, five times a second, and attaches them again. A look asks
// for the state itself, and so misses nothing that notifications might.
func (k *kernel) look() {
	lost := k.guard.Still(k.config.Interface)
	was := k.lost.Load()
	if lost == nil {
		if was != nil {
			k.lost.Store(nil)
			k.log.Warn("XDP is in force again", "interface", k.config.Interface)
			k.events.Emit(events.XDPAttached, "", "interface", k.config.Interface, "mode", k.attached())
		}
		return
	}
	if was == nil || (*was).Error() != lost.Error() {
		k.lost.Store(&lost)
		k.log.Error("XDP is not in force: what it protected inline stands open, and proxies answer by workers alone", "interface", k.config.Interface, "error", lost)
		k.events.Emit(events.XDPLost, "", "interface", k.config.Interface, "error", lost)
	}
	if !errors.Is(lost, bpf.ErrOff) {
		return
	}
	mode, err := k.guard.AttachAgain(k.config.Interface, k.config.Mode)
	switch {
	case err == nil:
		k.setMode(mode)
		k.lost.Store(nil)
		k.reattached.Add(1)
		k.log.Warn("XDP attached again", "interface", k.config.Interface, "mode", mode)
		k.events.Emit(events.XDPAttached, "", "interface", k.config.Interface, "mode", mode)
		k.failed = ""
	case err.Error() != k.failed:
		k.failed = err.Error()
		k.log.Error("XDP could not be attached again", "error", err)
	}
}

// follow tells the programs what has changed of a service. A nil kernel is told nothing.
func (k *kernel) follow(v *service) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now, err := k.tells(v)
	if was, ok := k.known[v]; !ok || was == now {
		return // it is not protected yet, or any more; or nothing has changed
	}
	k.known[v] = now
	if err == nil {
		err = k.protect(v, now)
	}
	v.refused.Store(nil)
	if err != nil {
		v.refused.Store(&err)
		v.log.Error("XDP could not follow the back end", "error", err)
	}
}
