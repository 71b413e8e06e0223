package bpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// chain is a place in the array of programs that another program on the interface calls by tail calls, in the order of the
// array: Katran's way to have several XDP programs on one interface. Such a program calls the first that is there, and what
// that says holds; so whoever comes before the guard must call the rest of the array itself.
type chain struct {
	programs *ebpf.Map
	index    uint32
	own      ebpf.ProgramID
}

// AttachChain is Attach where a root program is on the interface and the guard's place is in its array, a map pinned at
// path: the first that is free, or that of a guard that died. The mode is that of the root program. Nothing of it is kept
// over the end of the process, but by an accident: so Options.Pin must be "".
func (g *Programs) AttachChain(iface, path string) (AttachMode, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	mode, err := g.attachChain(iface, path)
	if err != nil {
		return 0, fmt.Errorf("attach to %s by the array %s: %w", iface, path, errors.Join(err, g.closeLinks()))
	}
	return mode, nil
}

func (g *Programs) attachChain(iface, path string) (AttachMode, error) {
	switch {
	case g.control == nil:
		return 0, ErrClosed
	case g.pin != "":
		return 0, errors.New("a place in an array of programs is not pinned")
	}
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return 0, err
	}
	a, err := Attached(dev.Index)
	if err != nil {
		return 0, err
	}
	if a.XDP == 0 {
		return 0, &hinted{errors.New("no XDP program is on the interface to call the array's"), "attach the root program first, or leave --xdp-chain out"}
	}
	c := new(chain)
	if c.programs, err = ebpf.LoadPinnedMap(path, nil); err != nil {
		return 0, hint(err)
	}
	if err := c.put(g.frags, g.progs.Guard); err != nil {
		return 0, errors.Join(err, c.programs.Close())
	}
	g.chain, g.mode = c, AttachGeneric
	if a.Native {
		g.mode = AttachNative
	}
	return g.mode, g.attachEgress(dev)
}

// put takes a place for the first of the programs that the array takes: it takes those only that are like the first it had,
// for several buffers or not.
func (c *chain) put(programs ...*ebpf.Program) error {
	if c.programs.Type() != ebpf.ProgramArray {
		return fmt.Errorf("it is %v, want an array of programs", c.programs.Type())
	}
	index, err := c.place()
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
		return fmt.Errorf("it takes no XDP program of attach type BPF_XDP, with or without several buffers, as its first program is another: %w", err)
	}
	return hint(err)
}

// place is the index that a dead guard has left, else the first free one.
func (c *chain) place() (uint32, error) {
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
			return 0, fmt.Errorf("look at place %d: %w", i, hint(err))
		}
		if programName(ebpf.ProgramID(id)) == guardProgGuard {
			return i, nil
		}
	}
	if !found {
		return 0, fmt.Errorf("all its %d places are taken", c.programs.MaxEntries())
	}
	return free, nil
}

// programName is that of a program of any process, "" where it cannot be told.
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

// close leaves the place, unless somebody else has it by now.
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
