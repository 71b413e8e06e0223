package bpf

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// AttachMode is how XDP is attached.
type AttachMode int

// Attach modes.
const (
	AttachAuto    AttachMode = iota // native, and generic where the driver has none
	AttachNative                    // in the driver
	AttachGeneric                   // in the stack, after the driver: any interface, several times slower
)

// String is the word used in flags and metrics.
func (m AttachMode) String() string { return name([]string{"auto", "native", "generic"}, int(m)) }

// attachment is the programs on one interface.
type attachment struct {
	iface   string
	index   int
	pin     string // directory of its links and of the maps; "": none
	adopted bool   // an earlier process attached it
	progs   *linkPrograms
	xdp     link.Link
	chain   *chain // instead of xdp
	path    string // of the array, for chain
	egress  *tc.Attachment
	ingress *tc.Attachment // nil: the kernel cannot
	mode    AttachMode
}

// attachment is that to an interface, nil if there is none.
func (g *Programs) attachment(iface string) *attachment {
	for _, a := range g.at {
		if a.iface == iface {
			return a
		}
	}
	return nil
}

// Attach attaches the programs to an interface and returns the mode in effect; a caller that asked for AttachAuto and got
// AttachGeneric should warn. Links that an earlier process pinned are taken over: they switch to these programs without a
// gap, in the mode they have. It may be called for any number of interfaces.
func (g *Programs) Attach(iface string, mode AttachMode) (AttachMode, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a, err := g.attach(iface, mode)
	if err != nil {
		return 0, fmt.Errorf("attach to %s: %w", iface, err)
	}
	return a.mode, nil
}

func (g *Programs) attach(iface string, mode AttachMode) (*attachment, error) {
	if g.control == nil {
		return nil, ErrClosed
	}
	if g.attachment(iface) != nil {
		return nil, errors.New("the guard is attached already")
	}
	a := &attachment{iface: iface}
	if err := g.attachTo(a, mode); err != nil {
		return nil, err
	}
	g.at = append(g.at, a)
	return a, nil
}

// Usable says why the programs cannot be attached to an interface, as far as that shows without trying; nil: it does not.
func Usable(iface string) error {
	if _, err := usable(iface); err != nil {
		return fmt.Errorf("attach to %s: %w", iface, err)
	}
	return nil
}

func usable(iface string) (*net.Interface, error) {
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, &hinted{fmt.Errorf("no such interface: %w", err), "give one that ip link lists"}
	}
	if dev.Flags&net.FlagUp == 0 {
		return nil, &hinted{errors.New("interface is down"), fmt.Sprintf("ip link set %s up", iface)}
	}
	return dev, nil
}

// attachTo fills a. Whatever fails, nothing that was not attached before is.
func (g *Programs) attachTo(a *attachment, mode AttachMode) error {
	dev, err := usable(a.iface)
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
	a.index, a.pin = dev.Index, ""
	if err := g.pointServices(a.iface, a.index); err != nil {
		return err
	}
	if g.pin != "" {
		a.pin = PinDir(g.pin, a.iface)
		if g.held[a.iface] == nil {
			if err := g.hold(a.iface); err != nil {
				return err
			}
		}
	}
	if adopted, err := g.adoptLinks(a); adopted || err != nil {
		return err
	}
	if a.xdp, a.mode, err = a.attachXDP(dev, mode); err != nil {
		return err
	}
	if err = a.attachEgress(); err == nil {
		err = g.attachIngress(a)
	}
	if err == nil {
		err = g.pinAll(a)
	}
	if err != nil {
		return errors.Join(err, a.closeLinks())
	}
	return nil
}

func (a *attachment) attachEgress() (err error) {
	if a.egress, err = tc.Attach(a.progs.egress, egressOptions(a.index)); err != nil {
		return fmt.Errorf("egress: %w", lacking(err))
	}
	return nil
}

// egressOptions say where the egress program goes. As a link it comes before others, any of which may end the chain; as a
// filter, before Linux 6.6, it runs between them by priority.
func egressOptions(ifindex int) tc.Options {
	return tc.Options{Interface: ifindex, Hook: tc.Egress, First: true, Name: "dtlsguard", Priority: 4433}
}

// attachXDP tries the modes that mode allows, each with the program for several buffers first.
func (a *attachment) attachXDP(dev *net.Interface, mode AttachMode) (link.Link, AttachMode, error) {
	flags := map[AttachMode]link.XDPAttachFlags{AttachNative: link.XDPDriverMode, AttachGeneric: link.XDPGenericMode}
	modes := []AttachMode{mode}
	if mode == AttachAuto {
		modes = []AttachMode{AttachNative, AttachGeneric}
	}
	var failed error
	for _, m := range modes {
		var err error
		for _, p := range []*ebpf.Program{a.progs.frags, a.progs.guard} {
			var l link.Link
			l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: dev.Index, Flags: flags[m]})
			if err == nil {
				return l, m, nil
			}
			if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
				return nil, 0, fmt.Errorf("another XDP program is attached (bpftool net show dev %s; ip link set dev %s xdp off removes one that no link holds): %w", dev.Name, dev.Name, err)
			}
		}
		err = fmt.Errorf("XDP in %v mode: %w", m, attachHint(dev, err))
		if failed != nil {
			err = fmt.Errorf("%w; %w", failed, err)
		}
		failed = err
	}
	return nil, 0, failed
}

// hinted is an error with its fix, which package hint renders.
type hinted struct {
	error
	fix string
}

func (h *hinted) Hint() string  { return h.fix }
func (h *hinted) Unwrap() error { return h.error }

// attachHint adds the fix to an error of attaching to dev.
func attachHint(dev *net.Interface, err error) error {
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return &hinted{fmt.Errorf("the driver has no XDP: %w", err), "use generic mode"}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return &hinted{fmt.Errorf("the driver refuses the program, perhaps because of the MTU of %d or too few queues: %w", dev.MTU, err),
			fmt.Sprintf("try: ip link set %s mtu 1500", dev.Name)}
	}
	return hint(err)
}

// hint adds the fix to an error of any step.
func hint(err error) error {
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		if !may(unix.CAP_PERFMON) { // without it the verifier rejects the programs, with a long log
			return &hinted{err, "run as root, or with CAP_PERFMON in addition to CAP_BPF and CAP_NET_ADMIN"}
		}
		return err // also EACCES, but for the program's code
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &hinted{err, "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"}
	}
	return err
}

// may reports whether this thread has a capability; true if that is unknown.
func may(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData // of 32 capabilities each
	return unix.Capget(&header, &has[0]) != nil || has[capability/32].Effective>>(capability%32)&1 != 0
}

// EgressIsFilter reports whether an egress program is a tc filter, because the kernel has no tcx links (before Linux 6.6):
// Detach then needs CAP_NET_ADMIN.
func (g *Programs) EgressIsFilter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.at, func(a *attachment) bool { return a.egress != nil && a.egress.Filter() })
}

// Detach detaches the programs from all interfaces and removes the pins. The maps stay until Close.
func (g *Programs) Detach() error {
	return g.detach(func(*attachment) bool { return true })
}

// Undo detaches the programs from the interfaces where Attach found none, and leaves those in force that it took over: for
// a start that fails.
func (g *Programs) Undo() error {
	return g.detach(func(a *attachment) bool { return !a.adopted })
}

func (g *Programs) detach(which func(*attachment) bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	g.at = slices.DeleteFunc(g.at, func(a *attachment) bool {
		if !which(a) {
			return false
		}
		if a.pin != "" {
			errs = append(errs, removePins(a.pin))
		}
		errs = append(errs, a.closeLinks()) // the last handles: closing them detaches the programs
		g.release(a.iface)
		return true
	})
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}
