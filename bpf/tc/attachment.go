package tc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// Hook is a place on an interface.
type Hook int

// Hooks.
const (
	Ingress Hook = iota // what came in
	Egress              // what goes out
)

func (h Hook) tcx() ebpf.AttachType {
	if h == Ingress {
		return ebpf.AttachTCXIngress
	}
	return ebpf.AttachTCXEgress
}

// Options say where a program goes.
type Options struct {
	Interface int // its index
	Hook      Hook
	First     bool // a link goes before those that are there, else after them
	// Where there are no links: the filter's name, which tc(8) shows and by which it is known again, and its priority.
	Name     string
	Priority uint16
}

func (o *Options) filter() filter {
	return filter{ifindex: o.Interface, hook: o.Hook, name: o.Name, priority: o.Priority}
}

// Attachment is a program that is attached.
type Attachment struct {
	link   link.Link // nil: a filter
	filter filter
	pinned bool
}

// Attach attaches a program. A filter that an earlier process left is replaced.
func Attach(p *ebpf.Program, o Options) (*Attachment, error) {
	at := link.TCXOptions{Program: p, Interface: o.Interface, Attach: o.Hook.tcx()}
	if o.First {
		at.Anchor = link.Head()
	}
	l, err := link.AttachTCX(at)
	if err == nil {
		return &Attachment{link: l}, nil
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return nil, fmt.Errorf("attach tcx link: %w", err)
	}
	a := &Attachment{filter: o.filter()}
	err = a.filter.open()
	if err == nil {
		err = a.filter.add(p)
	}
	if err != nil {
		a.filter.close()
		return nil, fmt.Errorf("attach tc filter: %w", err)
	}
	return a, nil
}

// Interface is the index of the one that it is attached to, 0 if it is to none any more.
func (a *Attachment) Interface() (int, error) {
	if a.link == nil {
		there, err := a.filter.find()
		if err != nil || there == nil {
			return 0, err
		}
		return a.filter.ifindex, nil
	}
	info, err := a.link.Info()
	if err != nil || info.TCX() == nil {
		return 0, err
	}
	return int(info.TCX().Ifindex), nil
}

// Filter reports whether it is a filter, because the kernel has no links.
func (a *Attachment) Filter() bool { return a.link == nil }

// Update puts p in the place of the program, without a gap.
func (a *Attachment) Update(p *ebpf.Program) error {
	if a.link != nil {
		return a.link.Update(p)
	}
	return a.filter.add(p)
}

// Close takes the program off, unless it is pinned.
func (a *Attachment) Close() error {
	switch {
	case a.link != nil:
		return a.link.Close()
	case a.pinned:
		a.filter.close()
		return nil
	}
	defer a.filter.close()
	return a.filter.remove()
}

// Pin keeps the attachment beyond the process: dir, on a bpffs, gets a file whose name begins with name. For a filter that
// is its program, and the name says where it is.
func (a *Attachment) Pin(dir, name string, p *ebpf.Program) error {
	if a.link != nil {
		return a.link.Pin(filepath.Join(dir, name))
	}
	path := filepath.Join(dir, a.filter.file(name))
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// A program that is pinned knows one path only, and moves there if it gets another: so it is pinned by a handle that no
	// one else has.
	c, err := p.Clone()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Pin(path); err != nil {
		return err
	}
	a.pinned = true
	return nil
}

// Open finds what Pin kept for the program of o in a directory, nil if there is nothing. Of o only the hook and the filter's name are read.
func Open(dir *pinfs.Dir, name string, o Options) (*Attachment, error) {
	l, err := dir.Link(name)
	if err == nil {
		return &Attachment{link: l, pinned: true}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	entries, err := os.ReadDir(dir.Path("."))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), name+"_")
		if !ok {
			continue
		}
		a := &Attachment{pinned: true}
		if err = a.filter.parse(rest); err == nil && (a.filter.name != o.Name || a.filter.hook != o.Hook) {
			err = pinfs.ErrForeign // of another program's filter
		}
		if err == nil {
			err = a.filter.open()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir.File().Name(), e.Name()), err)
		}
		return a, nil
	}
	return nil, nil
}

// Detach takes the program off for good, whoever else holds it, and closes a. The pin's file stays.
func (a *Attachment) Detach() error {
	if a.link != nil {
		return errors.Join(a.link.Detach(), a.link.Close())
	}
	defer a.filter.close()
	return a.filter.remove()
}

// Remove takes off the filter that Attach made with the same options, if it is there, and reports whether it was.
func Remove(o Options) (bool, error) {
	f := o.filter()
	if err := f.open(); err != nil {
		return false, err
	}
	defer f.close()
	there, err := f.find()
	if err != nil || there == nil {
		return false, err
	}
	return true, f.remove()
}

// Programs are the numbers of the programs on a hook, in the order in which they run, links before filters.
func Programs(ifindex int, h Hook) ([]uint32, error) {
	var ids []uint32
	q, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: h.tcx()})
	if err != nil && HaveLinks() == nil {
		return nil, err
	}
	if err == nil {
		for _, p := range q.Programs {
			ids = append(ids, uint32(p.ID))
		}
	}
	f := filter{ifindex: ifindex, hook: h}
	if err := f.open(); err != nil {
		return nil, err
	}
	defer f.close()
	filters, err := f.list()
	for _, b := range filters {
		ids = append(ids, uint32(b.Id))
	}
	return ids, err
}
