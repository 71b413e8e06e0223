package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// chain is an element of a program array whose programs a root program on the interface tail-calls, as Katran's root does to
// run several XDP programs on one interface. The root calls the first program in the array, whose verdict is final, so a
// program before the guard must tail-call the rest of the array itself.
type chain struct {
	programs *ebpf.Map
	index    uint32
	own      ebpf.ProgramID
}

// AttachChain is Attach for an interface with a root program: it installs the guard in the root's array, a map pinned at path.
// It takes the first free element, or that of another guard that died or is being upgraded. A guard that still lives there notices
// it (Still). The mode is that of the root program. Options.Pin must be "": the installation cannot outlive the process.
func (g *Programs) AttachChain(iface, path string) (AttachMode, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := &attachment{iface: iface, path: path}
	if err := g.attachChain(a, path); err != nil {
		return 0, fmt.Errorf("attach to %s by the array %s: %w", iface, path, errors.Join(err, a.closeLinks()))
	}
	g.at = append(g.at, a)
	return a.mode, nil
}

func (g *Programs) attachChain(a *attachment, path string) error {
	switch {
	case g.control == nil:
		return ErrClosed
	case g.pin != "":
		return errors.New("a program in another program's array cannot be pinned")
	}
	dev, err := net.InterfaceByName(a.iface)
	if err != nil {
		return err
	}
	header, err := linkHeader(a.iface)
	if err != nil {
		return err
	}
	if a.progs, err = g.programsFor(header); err != nil {
		return err
	}
	a.index = dev.Index
	if err := g.pointServices(a.iface, a.index); err != nil {
		return err
	}
	root, err := Attached(dev.Index)
	if err != nil {
		return err
	}
	if root.XDP == 0 {
		return &hinted{errors.New("the interface has no XDP program that could call those of the array"), "attach the root program first, or leave setting xdp-chain out"}
	}
	c := new(chain)
	if c.programs, err = ebpf.LoadPinnedMap(path, nil); err != nil {
		return hint(err)
	}
	if err := c.put(a.progs.frags, a.progs.guard); err != nil {
		return errors.Join(err, c.programs.Close())
	}
	a.chain, a.mode = c, AttachGeneric
	if root.Native {
		a.mode = AttachNative
	}
	return cmp.Or(a.attachEgress(), g.attachIngress(a))
}

// put installs the first of the programs that the array accepts. The kernel accepts only programs that resemble the first one
// it held: with support for several buffers, or without.
func (c *chain) put(programs ...*ebpf.Program) error {
	if c.programs.Type() != ebpf.ProgramArray {
		return fmt.Errorf("it is %v, want an array of programs", c.programs.Type())
	}
	index, err := c.freeIndex()
	if err != nil {
		return err
	}
	for _, p := range programs {
		if err = c.programs.Put(index, uint32(p.FD())); err == nil {
			info, ierr := p.Info()
			if ierr != nil {
				return ierr
			}
			c.index = index
			c.own, _ = info.ID()
			return nil
		}
	}
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the array's first program has another attach type than BPF_XDP, so the kernel accepts no other: %w", err)
	}
	return hint(err)
}

// freeIndex returns the index of a program that an earlier guard left there, else the first free one.
func (c *chain) freeIndex() (uint32, error) {
	free, found := uint32(0), false
	for i := range c.programs.MaxEntries() {
		var id uint32
		err := c.programs.Lookup(i, &id)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			if !found {
				free, found = i, true
			}
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("look at element %d: %w", i, hint(err))
		}
		if programName(ebpf.ProgramID(id)) == guardProgDtlsguard {
			return i, nil
		}
	}
	if !found {
		return 0, fmt.Errorf("all its %d elements are in use", c.programs.MaxEntries())
	}
	return free, nil
}

// programName is the name of a program of any process, "" if it is unknown.
func programName(id ebpf.ProgramID) string {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return ""
	}
	return info.Name
}

// still is nil while the array has the program; ErrOff if its element is empty. Another program there is no reason to put this
// one back: two guards would take the element from each other for ever.
func (c *chain) still() error {
	var id uint32
	switch err := c.programs.Lookup(c.index, &id); {
	case errors.Is(err, ebpf.ErrKeyNotExist):
		return fmt.Errorf("%w: somebody has emptied element %d of the array", ErrOff, c.index)
	case err != nil:
		return fmt.Errorf("look at element %d of the array: %w", c.index, err)
	case ebpf.ProgramID(id) != c.own:
		return fmt.Errorf("another program, %q, has taken element %d of the array: another guard?", programName(ebpf.ProgramID(id)), c.index)
	}
	return nil
}

// close removes the program, unless another one has replaced it.
func (c *chain) close() error {
	var id uint32
	err := c.programs.Lookup(c.index, &id)
	if err == nil && ebpf.ProgramID(id) == c.own {
		err = c.programs.Delete(c.index)
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	return errors.Join(err, c.programs.Close())
}
