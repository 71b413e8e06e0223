package frontend

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/events"
)

// beat sends heartbeats to the programs until ctx ends, and tells them of back ends whose hand-off changed. It checks the
// interfaces with each heartbeat and when the kernel reports a change, which it does not do when a program is detached.
func (k *kernel) beat(ctx context.Context, services func() []*service, clock func() int64) {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	links := newLinkWatch(ctx.Done())
	for beats := 0; ; beats++ {
		changed := false
		select {
		case <-ctx.Done():
			return
		case <-links.updates:
			changed = true
			links.drain()
		case <-t.C:
		}
		k.turn.Lock()
		if ctx.Err() == nil {
			k.guard.Heartbeat()
			k.look()
			if links.renew() || changed {
				k.lookAround(services())
			}
			k.beaten.Store(clock())
			k.tellOpen(services())
			for _, v := range services() {
				k.follow(v)
				if beats%lookAfterBeats == 0 {
					k.watchDelivery(v)
				}
			}
		}
		k.turn.Unlock()
	}
}

// linkWatch reports changes of interfaces.
type linkWatch struct {
	done    <-chan struct{}
	updates chan netlink.LinkUpdate // nil: not subscribed at the moment
	failed  chan struct{}
}

func newLinkWatch(done <-chan struct{}) *linkWatch { return &linkWatch{done: done} }

// renew subscribes at first and when a subscription has failed: the kernel ends one whose queue overflows. It reports whether
// changes may have been missed.
func (w *linkWatch) renew() bool {
	select {
	case <-w.failed:
		w.updates = nil
	default:
	}
	if w.updates != nil {
		return false
	}
	updates, failed := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	err := netlink.LinkSubscribeWithOptions(updates, w.done, netlink.LinkSubscribeOptions{ErrorCallback: func(error) {
		select {
		case <-failed:
		default:
			close(failed)
		}
	}})
	if err == nil {
		w.updates, w.failed = updates, failed
	}
	return true // without a subscription each beat looks
}

// drain discards queued changes.
func (w *linkWatch) drain() {
	for {
		select {
		case _, ok := <-w.updates:
			if !ok {
				w.updates = nil
				return
			}
		default:
			return
		}
	}
}

// look checks whether the programs are still attached, and attaches them again if not. It reads the state itself, so it misses
// nothing that notifications might.
func (k *kernel) look() {
	k.looking.Lock()
	defer k.looking.Unlock()
	if k.off || k.over.Load() { // handed over to the next guard
		return
	}
	for _, d := range k.devices {
		k.lookAt(d)
	}
}

// lookNow is look for a readiness check. It does nothing on a nil kernel.
func (k *kernel) lookNow() {
	if k != nil && k.ours {
		k.look()
	}
}

func (k *kernel) lookAt(d *device) {
	at, lost := k.guard.Still(d.name)
	if errors.Is(lost, bpf.ErrClosed) {
		return
	}
	k.tellChanges(d, at)
	was := d.lost.Load()
	if lost == nil {
		if was != nil {
			d.lost.Store(nil)
			k.log.Warn("XDP is attached again", "interface", d.name)
			k.events.Emit(events.XDPAttached, "", "interface", d.name, "mode", d.attached())
		}
		return
	}
	if was == nil || (*was).Error() != lost.Error() {
		d.lost.Store(&lost)
		k.log.Error("XDP is not attached: inline servers are unprotected, and only workers answer for proxies", "interface", d.name, "error", lost)
		k.events.Emit(events.XDPLost, "", "interface", d.name, "error", lost)
	}
	if !errors.Is(lost, bpf.ErrOff) || !at.Up {
		return
	}
	mode, err := k.guard.AttachAgain(d.name, k.config.Mode)
	switch {
	case err == nil:
		d.mode.Store(int32(mode))
		d.lost.Store(nil)
		d.reattached.Add(1)
		k.log.Warn("XDP attached again", "interface", d.name, "mode", mode)
		k.events.Emit(events.XDPAttached, "", "interface", d.name, "mode", mode)
		d.failed = ""
	case err.Error() != d.failed:
		d.failed = err.Error()
		k.log.Error("XDP could not be attached again", "interface", d.name, "error", err)
	}
}

// tellChanges logs how an interface changed since the last look.
func (k *kernel) tellChanges(d *device, at bpf.At) {
	was := d.at()
	first := d.now.Swap(&at) == nil
	switch {
	case at.Name != was.Name && at.Name == "":
		k.log.Error("interface is gone", "interface", d.name)
	case at.Name != was.Name && at.Name == d.name:
		k.log.Warn("interface is back", "interface", d.name)
	case at.Name != was.Name:
		k.log.Warn("interface was renamed; the programs stay on it, and its pins under the old name", "interface", d.name, "name", at.Name)
	}
	switch {
	case at.Name == "":
	case was.Up && !at.Up:
		k.log.Error("interface is down", "interface", d.name, "hint", "ip link set "+at.Name+" up")
	case !was.Up && at.Up:
		k.log.Warn("interface is up again", "interface", d.name)
	}
	if !first && at.MTU != was.MTU && at.MTU != 0 && was.MTU != 0 {
		k.log.Warn("MTU of the interface has changed", "interface", d.name, "mtu", at.MTU, "was", was.MTU)
	}
}

// lookAround finds interfaces by which protected servers can be reached past the programs.
func (k *kernel) lookAround(services []*service) {
	links, err := netlink.LinkList()
	if err != nil {
		k.log.Error("interfaces cannot be listed: whether servers can be reached past the programs is not known", "error", err)
		return
	}
	for _, v := range services {
		if v.inline {
			others := v.unguarded(links)
			v.others.Store(&others)
		}
	}
	k.tellOpen(services)
}

// tellOpen logs which protected servers can be reached past the programs, when that or its consequence has changed.
func (k *kernel) tellOpen(services []*service) {
	for _, v := range services {
		if !v.inline {
			continue
		}
		now := openness{others: strings.Join(v.ways(), " "), level: slog.LevelWarn}
		if v.reachable(v.ways()) != nil {
			now.level = slog.LevelError
		}
		if was := v.open.Swap(&now); now.others != "" && (was == nil || *was != now) {
			v.log.Log(context.Background(), now.level, "the server can be reached unchecked by interfaces without XDP", "guarded", v.guardedOn(), "others", now.others, "hint", UnguardedHint)
		}
	}
}

// openness is what was last logged about paths past the programs.
type openness struct {
	others string
	level  slog.Level
}

// follow tells the programs what has changed about a service. It does nothing on a nil kernel.
func (k *kernel) follow(v *service) {
	if k == nil || k.over.Load() {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now, err := k.tells(v)
	was, ok := k.known[v]
	if !ok || was == now {
		return // it is not protected yet or not any more, or nothing has changed
	}
	if now.why != "" && now.why != was.why {
		v.log.Warn("workers answer in the kernel's place", "why", now.why)
	}
	failed := k.protect(v, now)
	if v.unprotected.Store(failed != nil); failed != nil {
		err, now = errors.Join(err, failed), told{} // the next beat tries again
	}
	k.known[v] = now
	k.refuse(v, err)
}

// refuse records why the programs do not do what is configured for a service; nil: they do.
func (k *kernel) refuse(v *service, err error) {
	if err == nil {
		v.refused.Store(nil)
		return
	}
	if was := v.refused.Swap(&err); was == nil || (*was).Error() != err.Error() {
		v.log.Error("XDP could not follow the back end", "error", err)
	}
}

// retake attaches the programs again after a successor failed to serve.
func (k *kernel) retake() {
	k.mu.Lock()
	defer k.mu.Unlock()
	errs := []error{k.guard.Retake()}
	if k.secrets != nil {
		errs = append(errs, k.setSecret(k.secrets.store.Load()))
	}
	for v, t := range k.known {
		errs = append(errs, k.protect(v, t))
	}
	if err := errors.Join(errs...); err != nil {
		k.log.Error("XDP could not be taken back from a guard that did not start", "error", err)
	}
}
