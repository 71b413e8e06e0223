package tc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// handle is that of our filters: it need differ only from others of the same priority, which is ours.
const handle = 1

// filter is a place among the filters of a clsact qdisc.
type filter struct {
	netlink  *netlink.Handle // in the network namespace of the interface, which the thread may leave
	ifindex  int
	hook     Hook
	name     string
	priority uint16
	made     bool // the qdisc was made for it
}

func (f *filter) parent() uint32 {
	if f.hook == Ingress {
		return netlink.HANDLE_MIN_INGRESS
	}
	return netlink.HANDLE_MIN_EGRESS
}

// open makes f usable from this thread's network namespace on.
func (f *filter) open() (err error) {
	f.netlink, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	return err
}

func (f *filter) close() {
	if f.netlink != nil {
		f.netlink.Close()
	}
}

// qdisc is that of an interface which filters of both hooks hang on.
func qdisc(ifindex int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// add puts p on the place, in one step also where it takes that of another program.
func (f *filter) add(p *ebpf.Program) error {
	there, err := f.find()
	if err != nil {
		return err
	}
	err = f.netlink.QdiscAdd(qdisc(f.ifindex))
	switch {
	case err == nil:
		f.made = true
	case errors.Is(err, unix.EEXIST): // somebody's clsact, or the older ingress qdisc in its place, which has no egress
	default:
		return fmt.Errorf("add clsact qdisc (modules sch_ingress and cls_bpf): %w", err)
	}
	b := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: f.ifindex, Parent: f.parent(), Handle: handle, Priority: f.priority, Protocol: unix.ETH_P_ALL},
		Fd:          p.FD(), Name: f.name, DirectAction: true,
	}
	if there == nil {
		err = f.netlink.FilterAdd(b)
	} else {
		err = f.netlink.FilterReplace(b)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("add filter of priority %d: %w", f.priority, err), f.removeQdisc())
	}
	return nil
}

// find returns our filter, nil if it is not there. One of somebody else's with our priority and handle is an error.
func (f *filter) find() (*netlink.BpfFilter, error) {
	filters, err := f.list()
	if err != nil {
		return nil, err
	}
	for _, b := range filters {
		if b.Priority != f.priority || b.Handle != handle {
			continue
		}
		if b.Name != f.name {
			return nil, fmt.Errorf("filter %q of somebody else has priority %d and handle %d (tc filter show dev)", b.Name, f.priority, handle)
		}
		return b, nil
	}
	return nil, nil
}

// list are the programs among the filters of the hook.
func (f *filter) list() (found []*netlink.BpfFilter, err error) {
	filters, err := f.netlink.FilterList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: f.ifindex}}, f.parent())
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // no interface, no qdisc
		return nil, nil
	}
	for _, one := range filters {
		if b, ok := one.(*netlink.BpfFilter); ok {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b *netlink.BpfFilter) int { return int(a.Priority) - int(b.Priority) })
	return found, err
}

// remove takes our filter off, and the qdisc if that was made for it and nothing else hangs on it.
func (f *filter) remove() error {
	there, err := f.find()
	if err == nil && there != nil {
		err = f.netlink.FilterDel(there)
	}
	if err != nil {
		return fmt.Errorf("remove tc filter: %w", err)
	}
	return f.removeQdisc()
}

func (f *filter) removeQdisc() error {
	if !f.made {
		return nil
	}
	dev := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: f.ifindex}}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := f.netlink.FilterList(dev, parent)
		if err != nil || len(filters) > 0 {
			return nil // it is in use, or went with its interface
		}
	}
	err := f.netlink.QdiscDel(qdisc(f.ifindex))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// file is the name of a pin that tells all of f: NAME_HOOK_IFINDEX_PRIORITY_MADE_FILTERNAME.
func (f *filter) file(name string) string {
	made := 0
	if f.made {
		made = 1
	}
	return fmt.Sprintf("%s_%d_%d_%d_%d_%s", name, f.hook, f.ifindex, f.priority, made, f.name)
}

// parse reads what file writes after the name.
func (f *filter) parse(s string) error {
	parts := strings.SplitN(s, "_", 5)
	if len(parts) != 5 {
		return errors.New("not the name of a pinned filter")
	}
	var n [4]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(parts[i]); err != nil {
			return err
		}
	}
	*f = filter{netlink: f.netlink, hook: Hook(n[0]), ifindex: n[1], priority: uint16(n[2]), made: n[3] == 1, name: parts[4]}
	return nil
}

// HaveLinks is nil if the kernel has tcx links: it is asked to make one on an interface that cannot be.
func HaveLinks() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = link.AttachTCX(link.TCXOptions{Program: p, Interface: 1<<31 - 1, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
