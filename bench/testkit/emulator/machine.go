package emulator

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Wire is two network cards of a machine that are connected to each other.
type Wire struct {
	Card string // what QEMU calls it: virtio-net-pci, vmxnet3, e1000e
	// Queues of a virtio-net-pci; 0: 1. More than one needs root: only tap devices carry several, so the two ends are taps on
	// a bridge. The others have as many as their drivers ask for: vmxnet3 one per CPU, e1000e one.
	Queues int
}

// Machine describes what to boot.
type Machine struct {
	Kernel *Kernel
	CPUs   int // 0: 2
	Slots  int // CPUs that may be plugged in later: the kernel's possible ones, which per-CPU maps are sized by; 0: none
	Memory int // MiB; 0: 1024
	Wires  []Wire
	Files  Files    // in addition to busybox and what Run needs
	Env    []string // environment of Run
	Run    []string // the command: a path in Files, and its arguments
}

// modules are loaded in this order, if the kernel has them.
var modules = []string{
	"virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover", "net_failover", "virtio_net",
	"vmxnet3", "pps_core", "ptp", "e1000e", "llc", "stp", "garp", "mrp", "8021q", "tls", "bonding", "veth", "af_packet", "sch_ingress", "cls_bpf",
	"act_gact", "cls_matchall", "dummy",
}

// Words that the machine prints on its console.
const (
	markUp   = "emulator: up"
	markExit = "emulator: exit "
)

// bootTime is the timeout of a boot, which takes 5 s on an idle machine.
const bootTime = 2 * time.Minute

// boots is how often a machine that dies during boot is started. On a busy host a kernel may find its clocks unreliable.
const boots = 3

// Result is the outcome of a run.
type Result struct {
	Output  []byte // of the command, standard output and error
	Status  int    // its exit status
	Console string // messages of the kernel
}

// Start boots the machine, runs its command and returns when it is off. An error means that the machine failed, not the
// command.
func (m *Machine) Start(ctx context.Context) (*Result, error) {
	on := m.platform()
	qemu, err := exec.LookPath(on.qemu)
	if err != nil {
		return nil, fmt.Errorf("no emulator: apt-get install %s busybox-static: %w", on.pkg, err)
	}
	dir, err := os.MkdirTemp("", "emulator-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := m.writeRoot(initrd); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	var errs []error
	for range boots {
		output := filepath.Join(dir, "output")
		up, result, err := m.boot(ctx, qemu, m.arguments(initrd, output), output)
		if err == nil {
			return result, nil
		}
		errs = append(errs, err)
		if up || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("boot %s: %w", m.Kernel.Release, errors.Join(errs...))
}

// platform is a kind of machine.
type platform struct {
	qemu, pkg string   // the emulator and its package
	args      []string // of the emulator
	console   string   // the kernel's
	output    string   // what the command writes to
}

// platform is what the kernel runs on. -cx16: QEMU 7.2 emulates cmpxchg16b with wrong flags, and allocators since kernel 6.6 use it:
// half of their boots died. no_timer_check: the skipped timer test fails if the emulator is kept off its CPU.
func (m *Machine) platform() platform {
	if m.Kernel.Arm64() {
		return platform{"qemu-system-aarch64", "qemu-system-arm", []string{"-machine", "virt", "-cpu", "max,pauth-impdef=on"}, "ttyAMA0", "ttyS0"}
	}
	return platform{"qemu-system-x86_64", "qemu-system-x86", []string{"-machine", "q35", "-cpu", "max,-cx16"}, "ttyS0", "ttyS1"}
}

func (m *Machine) arguments(initrd, output string) []string {
	cpus, memory := max(m.CPUs, 1), max(m.Memory, 1024)
	if m.CPUs == 0 {
		cpus = 2
	}
	on := m.platform()
	args := on.args
	args = append(args, "-smp", fmt.Sprintf("%d,maxcpus=%d", cpus, max(cpus, m.Slots)), "-m", strconv.Itoa(memory),
		"-display", "none", "-no-reboot", "-serial", "stdio", "-nic", "none",
		"-kernel", m.Kernel.Image, "-initrd", initrd,
		"-append", "console="+on.console+" quiet panic=-1 mitigations=off no_timer_check net.ifnames=0")
	if m.Kernel.Arm64() {
		args = append(args, "-chardev", "file,id=output,path="+output, "-device", "pci-serial,chardev=output")
	} else {
		args = append(args, "-serial", "file:"+output)
	}
	for i, w := range m.Wires {
		args = append(args, w.arguments(i)...)
	}
	return args
}

// largestMTU is the MTU of the ends of a wire.
const largestMTU = 9000

// end names an end of wire i, to QEMU and as a tap device.
func (w *Wire) end(i, end int) string { return fmt.Sprintf("w%d%d", i, end) }

func (w *Wire) arguments(i int) (args []string) {
	for end := range 2 {
		id := w.end(i, end)
		netdev := fmt.Sprintf("hubport,id=%s,hubid=%d", id, i)
		device := fmt.Sprintf("%s,netdev=%s", w.Card, id)
		if w.Card == "virtio-net-pci" {
			device += fmt.Sprintf(",host_mtu=%d", largestMTU) // otherwise the driver allows no more than 1500
		}
		if w.Queues > 1 {
			netdev = fmt.Sprintf("tap,id=%s,ifname=%s,script=no,downscript=no,queues=%d", id, id, w.Queues)
			device += fmt.Sprintf(",mq=on,vectors=%d", 2*w.Queues+2) // of a queue pair two, and the device's own two
		}
		args = append(args, "-netdev", netdev, "-device", device)
	}
	return args
}

// bridges is a shell script that makes the taps of wires with several queues; "" if there are none.
func (m *Machine) bridges() string {
	var s strings.Builder
	for i, w := range m.Wires {
		if w.Queues <= 1 {
			continue
		}
		fmt.Fprintf(&s, "ip link add b%d type bridge mcast_snooping 0\n", i)
		for end := range 2 {
			name := w.end(i, end)
			fmt.Fprintf(&s, "ip tuntap add %s mode tap multi_queue\nip link set %s mtu %d master b%d up\n", name, name, largestMTU, i)
		}
		fmt.Fprintf(&s, "ip link set b%d up\n", i)
	}
	return s.String()
}

// command is what starts QEMU: where there are taps, in a network namespace of its own that ends with it.
func (m *Machine) command(ctx context.Context, qemu string, args []string) *exec.Cmd {
	script := m.bridges()
	if script == "" {
		return exec.CommandContext(ctx, qemu, args...)
	}
	return exec.CommandContext(ctx, "unshare", append([]string{"--net", "sh", "-ec", script + `exec "$@"`, "sh", qemu}, args...)...)
}

// writeRoot writes the machine's only file system.
func (m *Machine) writeRoot(path string) error {
	files := make(Files)
	for name, f := range m.Files {
		files[name] = f
	}
	if _, ok := files["/bin/busybox"]; !ok {
		busybox, err := exec.LookPath("busybox")
		if err != nil {
			return fmt.Errorf("no busybox: apt-get install busybox-static: %w", err)
		}
		files["/bin/busybox"] = File{From: busybox, Mode: 0o755}
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/root"} {
		files[dir] = File{Mode: os.ModeDir}
	}
	for i, name := range modules {
		contents, err := m.Kernel.Module(name)
		if err != nil {
			return err
		}
		if contents != nil {
			files[fmt.Sprintf("/modules/%02d-%s.ko", i, name)] = File{Contents: contents, Mode: 0o644}
		}
	}
	files["/init"] = File{Contents: []byte(m.script()), Mode: 0o755}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(files.write(newArchive(f)), f.Close())
}

// script is the machine's init.
func (m *Machine) script() string {
	quote := func(words []string) string {
		var s []string
		for _, w := range words {
			s = append(s, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		return strings.Join(s, " ")
	}
	return `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmp /tmp
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/netns /dev/pts
ln -s /proc/self/fd /dev/fd
for m in /modules/*.ko; do insmod $m || echo "emulator: no $m"; done
ip link set lo up
stty -F /dev/` + m.platform().output + ` raw
echo "` + markUp + `"
cd /root
env ` + quote(m.Env) + " " + quote(m.Run) + ` >/dev/` + m.platform().output + ` 2>&1 </dev/null
echo "` + markExit + `$?"
sleep 1
reboot -f
`
}

// boot tries once and reports whether the machine came up. Its command's output goes to the file output. Only one machine
// per host boots at a time.
func (m *Machine) boot(ctx context.Context, qemu string, args []string, output string) (up bool, r *Result, err error) {
	cache, err := Cache()
	if err != nil {
		return false, nil, err
	}
	unlock, err := lock(filepath.Join(cache, "boot.lock"))
	if err != nil {
		return false, nil, err
	}
	defer func() { unlock() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := m.command(ctx, qemu, args)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	console, err := cmd.StdoutPipe()
	if err != nil {
		return false, nil, err
	}
	if err := cmd.Start(); err != nil {
		return false, nil, err
	}
	late := time.AfterFunc(bootTime, func() { cancel(fmt.Errorf("not up after %v", bootTime)) })
	var said strings.Builder
	status := -1
	lines := bufio.NewScanner(io.TeeReader(console, &said))
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if strings.HasSuffix(line, markUp) {
			up = true
			late.Stop()
			unlock()
			unlock = func() {}
		}
		if _, s, ok := strings.Cut(line, markExit); ok {
			status, err = strconv.Atoi(s)
		}
	}
	err = errors.Join(err, cmd.Wait(), context.Cause(ctx))
	text := strings.ReplaceAll(said.String(), "\r", "")
	out, rerr := os.ReadFile(output)
	out = bytes.ReplaceAll(out, []byte("\r"), nil)
	if err = errors.Join(err, rerr); err == nil && status < 0 {
		err = errors.New("it went off before its command ended")
	}
	if err != nil {
		return up, nil, fmt.Errorf("%w\n%s%s\n%s", err, errs.String(), tail(text), tail(string(out)))
	}
	return up, &Result{Output: out, Status: status, Console: text}, nil
}

// tail returns the end of a text.
func tail(s string) string {
	const most = 4000
	return s[max(0, len(s)-most):]
}
