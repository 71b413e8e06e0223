package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// adoptLinks takes over the pinned links, if there are any that are alive.
func (g *Programs) adoptLinks(a *attachment) (bool, error) {
	if a.pin == "" {
		return false, nil
	}
	mode, err := a.openLinks()
	if err != nil {
		return false, errors.Join(fmt.Errorf("open pinned links: %w", err), a.closeLinks())
	}
	if mode == AttachAuto {
		// None, half of a pair, or links to an interface that is gone: no use to anybody.
		return false, errors.Join(a.closeLinks(), removePins(a.pin))
	}
	ours := g.pinsOurs(a.pin)
	if err := a.updateLinks(ours); err != nil {
		return false, errors.Join(fmt.Errorf("replace the programs of pinned links: %w", hint(err)), a.closeLinks())
	}
	if a.ingress == nil { // a build that had none has pinned the others, or somebody has taken it off
		if err = g.attachIngress(a); err == nil && ours {
			err = a.again(a.pinIngress)
		}
		if err != nil {
			return false, errors.Join(err, a.closeLinks())
		}
	}
	a.mode, a.adopted = mode, true
	if !ours {
		err = g.pinAll(a) // the pinned maps do not fit, or are another guard's: replace them
	}
	return true, err
}

// openLinks opens the pinned links and returns the mode they are in, ModeAuto if they do not hold the interface.
func (a *attachment) openLinks() (AttachMode, error) {
	dir, err := pinfs.Open(a.pin)
	if errors.Is(err, os.ErrNotExist) {
		return AttachAuto, nil
	}
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	var mode AttachMode
	for m, file := range pinXDP {
		l, err := dir.Link(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		a.xdp, mode = l, m
	}
	if a.egress, err = tc.Open(dir, pinEgress, egressOptions(0)); err != nil || a.egress == nil || a.xdp == nil {
		return AttachAuto, err
	}
	if err := a.openIngress(dir); err != nil {
		return AttachAuto, err
	}
	xdp, err := a.xdp.Info()
	if err != nil {
		return 0, err
	}
	at, err := a.egress.Interface()
	if err != nil {
		return 0, err
	}
	if xdp.XDP() == nil || int(xdp.XDP().Ifindex) != a.index || at != a.index {
		return AttachAuto, nil
	}
	there, err := Attached(a.index)
	if err == nil && there.XDP != uint32(xdp.Program) {
		err = fmt.Errorf("they are attached to an interface of this name in another network namespace: give each its own pin directory (setting pin), or run unload there")
	}
	return mode, err
}

// closeLinks lets go of the links to all interfaces.
func (g *Programs) closeLinks() error {
	var errs []error
	for _, a := range g.at {
		errs = append(errs, a.closeLinks())
	}
	g.at = nil
	return errors.Join(errs...)
}

func (a *attachment) closeLinks() error {
	var errs []error
	if a.xdp != nil {
		errs = append(errs, a.xdp.Close())
		a.xdp = nil
	}
	if a.chain != nil {
		errs = append(errs, a.chain.close())
		a.chain = nil
	}
	for _, t := range []**tc.Attachment{&a.egress, &a.ingress} {
		if *t != nil {
			errs = append(errs, (*t).Close())
			*t = nil
		}
	}
	return errors.Join(errs...)
}

// updateLinks gives the links these programs, the ingress program for several buffers first. pinned: the directory stays.
func (a *attachment) updateLinks(pinned bool) error {
	err := a.xdp.Update(a.progs.frags)
	if err != nil {
		err = a.xdp.Update(a.progs.guard)
	}
	if err == nil && a.ingress != nil {
		err = a.ingress.Update(a.progs.ingress)
	}
	if err != nil {
		return err
	}
	if err := a.egress.Update(a.progs.egress); err != nil || !a.egress.Filter() || !pinned {
		return err
	}
	return a.again(func(dir string) error { return a.egress.Pin(dir, pinEgress, a.progs.egress) }) // the pin is the program
}

// again pins something into the directory that is there already; pin gets its path, by a descriptor.
func (a *attachment) again(pin func(dir string) error) error {
	dir, err := pinfs.Open(a.pin)
	if err != nil {
		return err
	}
	return errors.Join(pin(dir.Path(".")), dir.Close())
}
