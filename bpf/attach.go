package bpf

import (
	"errors"
	"fmt"
	"net"

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

// Attach attaches the programs to an interface and returns the mode in effect; a caller that asked for AttachAuto and got
// AttachGeneric should warn. Links that an earlier process pinned are taken over: they switch to these programs without a
// gap, in the mode they have.
func (g *Programs) Attach(iface string, mode AttachMode) (AttachMode, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	got, err := g.attach(iface, mode)
	if err != nil {
		return 0, fmt.Errorf("attach to %s: %w", iface, err)
	}
	return got, nil
}

func (g *Programs) attach(iface string, mode AttachMode) (AttachMode, error) {
	if g.control == nil {
		return 0, ErrClosed
	}
	if g.xdp != nil || g.chain != nil {
		return 0, errors.New("the guard is attached already")
	}
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return 0, fmt.Errorf("no such interface (ip link lists them): %w", err)
	}
	if dev.Flags&net.FlagUp == 0 {
		return 0, fmt.Errorf("interface is down: ip link set %s up", iface)
	}
	header, err := linkHeader(iface)
	if err != nil {
		return 0, err
	}
	if header != g.linkHeader {
		return 0, errors.New("the programs are loaded for another kind of device: set Options.Interface")
	}
	if adopted, got, err := g.adoptLinks(dev); adopted || err != nil {
		return got, err
	}
	if g.xdp, g.mode, err = g.attachXDP(dev, mode); err != nil {
		return 0, err
	}
	if err = g.attachEgress(dev); err == nil {
		err = g.pinAll()
	}
	if err != nil {
		return 0, errors.Join(err, g.closeLinks())
	}
	return g.mode, nil
}

func (g *Programs) attachEgress(dev *net.Interface) (err error) {
	if g.egress, err = tc.Attach(g.progs.Egress, egressOptions(dev)); err != nil {
		return fmt.Errorf("egress: %w", hint(err))
	}
	return nil
}

// egressOptions say where the egress program goes. As a filter, before Linux 6.6, it runs between others by priority.
func egressOptions(dev *net.Interface) tc.Options {
	return tc.Options{Interface: dev.Index, Hook: tc.Egress, Name: "dtlsguard", Priority: 4433}
}

// attachXDP tries the modes that mode allows, each with the program for several buffers first.
func (g *Programs) attachXDP(dev *net.Interface, mode AttachMode) (link.Link, AttachMode, error) {
	flags := map[AttachMode]link.XDPAttachFlags{AttachNative: link.XDPDriverMode, AttachGeneric: link.XDPGenericMode}
	modes := []AttachMode{mode}
	if mode == AttachAuto {
		modes = []AttachMode{AttachNative, AttachGeneric}
	}
	var failed error
	for _, m := range modes {
		var err error
		for _, p := range []*ebpf.Program{g.frags, g.progs.Dtlsguard} {
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

// EgressIsFilter reports whether the egress program is a tc filter, because the kernel has no tcx links (before Linux 6.6):
// Detach then needs CAP_NET_ADMIN.
func (g *Programs) EgressIsFilter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.egress != nil && g.egress.Filter()
}

// Detach detaches the programs from the interface and removes the pins. The maps stay until Close.
func (g *Programs) Detach() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var err error
	if g.pin != "" {
		err = removePins(g.pin)
	}
	err = errors.Join(err, g.closeLinks()) // the last handles: closing them detaches the programs
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}
