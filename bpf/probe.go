package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// Level says how bad a finding is.
type Level int

// Levels.
const (
	Pass Level = iota
	Warn       // works, but not as well as it could
	Fail       // does not work
)

// String is the word that a report begins a line with.
func (l Level) String() string { return name([]string{"PASS", "WARN", "FAIL"}, int(l)) }

// Finding is the outcome of one probe.
type Finding struct {
	Name  string
	Level Level
	Text  string // what was found
	Hint  string // one command or step that fixes it; "" where nothing is to fix
}

// finding turns a probe's error into its outcome. since names the kernel that first has the feature.
func finding(what string, err error, since string) Finding {
	switch {
	case err == nil:
		return Finding{Name: what, Text: "available"}
	case errors.Is(err, ebpf.ErrNotSupported):
		return Finding{what, Fail, "not in this kernel", "use Linux " + since + " or later"}
	case errors.Is(err, unix.EPERM):
		return Finding{what, Fail, "not permitted", "run as root, or: setcap cap_bpf,cap_net_admin,cap_perfmon+ep on the binary"}
	}
	return Finding{what, Fail, err.Error(), "report it: a probe should know this answer"}
}

// Probe asks the kernel, by doing each thing, for what the programs need. It changes nothing.
func Probe() []Finding {
	f := []Finding{
		finding("XDP programs", features.HaveProgramType(ebpf.XDP), "6.1"),
		finding("several buffers in XDP", features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen), "6.1"),
		finding("tc programs", features.HaveProgramType(ebpf.SchedCLS), "4.1"),
		probeEgress(),
		probeAssign(),
		finding("reuseport programs", features.HaveProgramType(ebpf.SkReuseport), "4.19"),
		finding("LRU maps", features.HaveMapType(ebpf.LRUHash), "4.10"),
		finding("CPU maps", features.HaveMapType(ebpf.CPUMap), "4.15"),
		finding("socket arrays", features.HaveMapType(ebpf.ReusePortSockArray), "4.19"),
		finding("maps in user memory", features.HaveMapFlag(features.BPF_F_MMAPABLE), "5.5"),
		probeJIT(),
		probeFS(filepath.Dir(PinRoot)),
		probeLoad(),
	}
	return f
}

// WithoutXDP is what works where the kernel lacks something that the programs need.
const WithoutXDP = "a proxy without setting interface, which needs no XDP"

// lacking adds WithoutXDP to the error of a step that a kernel may be unable to do, unless its fix is known.
func lacking(err error) error {
	var known *hinted
	if err = hint(err); errors.As(err, &known) {
		return err
	}
	return &hinted{err, "use " + WithoutXDP}
}

// tooOld says which of the helpers that the programs call this kernel lacks, nil if none: those that came last, with Linux
// 5.18. Kernels between that and 6.1, which is the oldest that is tested, may do.
func tooOld() error {
	for name, helper := range map[string]asm.BuiltinFunc{"bpf_xdp_load_bytes": asm.FnXdpLoadBytes, "bpf_xdp_get_buff_len": asm.FnXdpGetBuffLen} {
		if err := features.HaveProgramHelper(ebpf.XDP, helper); errors.Is(err, ebpf.ErrNotSupported) {
			return &hinted{fmt.Errorf("this kernel is too old for the programs: it has no %s", name), "use Linux 6.1 or later, or " + WithoutXDP}
		}
	}
	return nil
}

// probeEgress says how the egress program is attached.
func probeEgress() Finding {
	err := tc.HaveLinks()
	if errors.Is(err, ebpf.ErrNotSupported) {
		return Finding{Name: "egress", Text: "by a filter of the clsact qdisc (tcx links: since Linux 6.6)"}
	}
	f := finding("egress", err, "6.1")
	if err == nil {
		f.Text = "by a tcx link"
	}
	return f
}

// probeAssign says how ClientHellos reach workers inline.
func probeAssign() Finding {
	f := Finding{Name: "workers inline", Text: "ClientHellos keep the service's port on their way to them"}
	if CanAssign() != nil {
		f.Text = "ClientHellos come by a port of their own, which the host's firewall must let in: see setting workers-port (the service's own port: since Linux 6.6)"
	}
	return f
}

func probeJIT() Finding {
	const file = "/proc/sys/net/core/bpf_jit_enable"
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist): // kernels without the choice have it on
		return Finding{Name: "JIT", Text: "built in"}
	case err != nil:
		return Finding{"JIT", Warn, err.Error(), ""}
	case strings.TrimSpace(string(b)) == "0":
		return Finding{"JIT", Warn, "off: programs run several times slower", "sysctl net.core.bpf_jit_enable=1"}
	}
	return Finding{Name: "JIT", Text: "on"}
}

func probeFS(dir string) Finding {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.BPF_FS_MAGIC {
		return Finding{"bpffs", Warn, "none at " + dir + ": the programs would end with the guard, whatever ends it", "mount -t bpf bpf " + dir}
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return Finding{"bpffs", Warn, dir + " is not writable: nothing would be kept over a restart", "run as its owner"}
	}
	return Finding{Name: "bpffs", Text: "mounted at " + dir}
}

// probeLoad lets the verifier of this kernel have its say.
func probeLoad() Finding {
	g, err := Load(Options{MaxServices: 1, MaxFlows: 1024})
	var known *hinted
	switch {
	case errors.As(err, &known) && tooOld() != nil:
		return Finding{"programs", Fail, firstLine(err), known.fix}
	case err != nil:
		return Finding{"programs", Fail, firstLine(err), "report it together with uname -r, if the lines above pass"}
	}
	defer g.Close()
	return Finding{Name: "programs", Text: "load"}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// ProbeInterface looks at an interface of this network namespace: is it up, who is attached, do its queues
// reach all CPUs. It changes nothing; whether the driver takes XDP shows only Attach.
func ProbeInterface(iface string) []Finding {
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return []Finding{{"interface", Fail, fmt.Sprintf("%s: %v", iface, err), "ip link"}}
	}
	f := []Finding{{Name: "interface", Text: iface + " is up"}}
	if dev.Flags&net.FlagUp == 0 {
		f[0] = Finding{"interface", Fail, iface + " is down", "ip link set " + iface + " up"}
	}
	f = append(f, probeDriver(dev), probeMTU(dev), probeQueues(dev), probeSteering(dev))
	f = append(f, probeTags(dev)...)
	f = append(f, probePins(PinDir(PinRoot, iface))...)
	a, err := Attached(dev.Index)
	switch {
	case err != nil:
		f = append(f, Finding{"attached", Warn, firstLine(err), ""})
	case a.XDP != 0:
		f = append(f, Finding{"attached", Warn, fmt.Sprintf("XDP program %d is on %s", a.XDP, iface), fmt.Sprintf("bpftool prog show id %d tells whose it is; one of this guard's own is taken over", a.XDP)})
	default:
		f = append(f, Finding{Name: "attached", Text: "no XDP program"})
	}
	return f
}

// probePins warns where an earlier build pinned maps in dir that this build does not take over.
func probePins(dir string) []Finding {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	spec, err := loadGuard()
	if err == nil {
		err = fits(dir, spec)
	}
	switch {
	case errors.Is(err, errLayout):
		return []Finding{{"pinned maps", Warn, fmt.Sprintf("%s: %v; run replaces them, and clients with a session must prove their address again", dir, err),
			"run once with setting monitor while sessions learn their flows anew, or restart at a quiet time"}}
	case err != nil:
		return []Finding{{"pinned maps", Warn, fmt.Sprintf("%s: %v", dir, err), ""}}
	}
	return []Finding{{Name: "pinned maps", Text: dir + ": this build takes them over"}}
}

func probeDriver(dev *net.Interface) Finding {
	driver, err := os.Readlink("/sys/class/net/" + dev.Name + "/device/driver")
	if err != nil {
		// No such device, or not in this /sys, which shows those of the network namespace that it was mounted in.
		if name := ethtoolDriver(dev.Name); name != "" {
			return Finding{Name: "driver", Text: name}
		}
		return Finding{Name: "driver", Text: "not known: the device names none"}
	}
	return Finding{Name: "driver", Text: filepath.Base(driver)}
}

// probeMTU warns above what fits a page besides the headroom and the skb's own data, which is what drivers
// without several buffers can take (3498 bytes of MTU with virtio-net and most others).
func probeMTU(dev *net.Interface) Finding {
	const most = 3498
	if dev.MTU > most {
		return Finding{"MTU", Warn, fmt.Sprintf("%d: many drivers take XDP up to %d only", dev.MTU, most), fmt.Sprintf("ip link set %s mtu 1500", dev.Name)}
	}
	return Finding{Name: "MTU", Text: fmt.Sprint(dev.MTU)}
}

func probeQueues(dev *net.Interface) Finding {
	queues, err := filepath.Glob("/sys/class/net/" + dev.Name + "/queues/rx-*")
	cpus, cerr := ebpf.PossibleCPU()
	if err != nil || cerr != nil || len(queues) == 0 {
		return Finding{Name: "queues", Text: "cannot be counted: /sys is of another network namespace"}
	}
	if len(queues) < cpus {
		return Finding{"queues", Warn, fmt.Sprintf("%d for %d CPUs: packets for the other CPUs' workers are moved in software", len(queues), cpus), fmt.Sprintf("ethtool -L %s combined %d, if the device has them", dev.Name, cpus)}
	}
	return Finding{Name: "queues", Text: fmt.Sprintf("%d for %d CPUs", len(queues), cpus)}
}
