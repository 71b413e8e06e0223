package frontend

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// device is an interface that the programs are attached to.
type device struct {
	name string
	mode atomic.Int32 // bpf.AttachMode
	deaf bool         // answers that XDP sends from the driver do not arrive

	lost       atomic.Pointer[error] // why the programs are not attached; nil: they are
	now        atomic.Pointer[bpf.At]
	reattached atomic.Uint64
	held       atomic.Uint64 // neighbour entries of routers
	failed     string        // the last logged failure to attach again
}

func (d *device) attached() bpf.AttachMode { return bpf.AttachMode(d.mode.Load()) }

// at returns the result of the last look; before the first, the interface counts as up.
func (d *device) at() bpf.At {
	if at := d.now.Load(); at != nil {
		return *at
	}
	return bpf.At{Name: d.name, Up: true}
}

// findPeer finds out whether answers in the driver would arrive.
func (d *device) findPeer(mode bpf.AttachMode, log *slog.Logger) {
	if err := bpf.AnswersArrive(d.name); errors.Is(err, bpf.ErrNoPeerXDP) && mode != bpf.AttachGeneric {
		d.deaf = true
		log.Warn("answers in the driver would be lost: workers answer where setting answer is auto", "interface", d.name, "error", err, "hint", hint.Of(err))
	}
}

// attachTo attaches the programs to an interface.
func (k *kernel) attachTo(d *device) error {
	var mode bpf.AttachMode
	var err error
	if k.config.Chain != "" {
		mode, err = k.guard.AttachChain(d.name, k.config.Chain)
	} else {
		mode, err = k.guard.Attach(d.name, k.config.Mode)
	}
	if err != nil {
		return err
	}
	d.mode.Store(int32(mode))
	if mode == bpf.AttachGeneric && k.config.Mode == bpf.AttachAuto {
		k.log.Warn("the driver has no XDP: programs run behind it, in generic mode, several times slower", "interface", d.name,
			"hint", "command check with setting interface "+d.name)
	}
	k.log.Info("XDP attached", "interface", d.name, "mode", mode)
	k.events.Emit(events.XDPAttached, "", "interface", d.name, "mode", mode)
	return nil
}

// interfaces returns the interfaces that a service names.
func (v *service) interfaces() []string { return v.now.Load().interfaces }

// devicesOf returns the devices that a service is guarded on.
func (k *kernel) devicesOf(v *service) (list []*device) {
	only := v.interfaces()
	for _, d := range k.devices {
		if len(only) == 0 || slices.Contains(only, d.name) {
			list = append(list, d)
		}
	}
	return list
}

// attachedFor returns the mode that a service can rely on: native if the programs run in the driver on all its interfaces.
func (k *kernel) attachedFor(v *service) bpf.AttachMode {
	mode := bpf.AttachAuto
	for _, d := range k.devicesOf(v) {
		mode = max(mode, d.attached())
	}
	return mode
}

// deafFor reports whether answers sent by the driver would be lost on some interface.
func (k *kernel) deafFor(v *service) bool {
	return slices.ContainsFunc(k.devicesOf(v), func(d *device) bool { return d.deaf })
}

// lostFor returns where the programs do not guard a service; nil if they do everywhere. open: clients may bypass them (not on an
// interface that is down; one that is gone may return at any time). idle: no interface lets clients in.
func (k *kernel) lostFor(v *service) (open, idle bool, err error) {
	var lost []string
	idle = true
	for _, d := range k.devicesOf(v) {
		switch why := d.lost.Load(); {
		case why != nil:
			lost, open = append(lost, (*why).Error()), true
		case !d.at().Up:
			lost = append(lost, fmt.Sprintf("interface %s is down", d.at().Name))
		default:
			idle = false
		}
	}
	if len(lost) > 0 {
		err = errors.New(strings.Join(lost, ", "))
	}
	return open, idle, err
}

// answers returns who answers a service's ClientHellos, and the reason if it is not the kernel.
func (k *kernel) answers(v *service) (who, why string) {
	if k == nil {
		return "", ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.known[v]
	if !ok {
		return "", ""
	}
	return t.answer.String(), t.why
}
