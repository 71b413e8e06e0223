package frontend

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Times between a daemon and its programs.
const (
	// beatEvery and lostAfter: ten heartbeats may be missed before a daemon counts as dead, so that neither the scheduler nor
	// the garbage collector makes it appear dead.
	beatEvery = 200 * time.Millisecond
	lostAfter = 2 * time.Second
	// creditBudget is how many ClientHellos may be queued for one worker: at about 5 us each in the stack
	// they are a queue of 5 ms, which keeps the worker busy and fits its socket's buffer.
	creditBudget = 1024
)

// kernel is the XDP side of a server.
type kernel struct {
	config  *XDP
	secrets *secrets // those that the programs have
	guard   *bpf.Programs
	ours    bool // this process has attached the programs
	flows   kernelFlows
	devices []*device
	log     *slog.Logger
	events  *events.Channel

	beaten     atomic.Int64 // when the last heartbeat was given, by the server's clock
	neighbours *neighbours  // nil: not held
	looking    sync.Mutex   // of look
	off        bool         // detached for good: there is nothing to look at; guarded by looking

	over  atomic.Bool // another process has the programs
	turn  sync.Mutex  // held while beat does something
	mu    sync.Mutex
	known map[*service]told // the services as last written to the programs
}

// openKernel loads the programs, or takes over those that an earlier guard left active; nothing is attached yet.
func openKernel(c *Config) (*kernel, error) {
	k := &kernel{config: &c.XDP, log: c.Log, known: make(map[*service]told)}
	for _, name := range c.XDP.Interfaces {
		k.devices = append(k.devices, &device{name: name})
	}
	pin := ""
	switch {
	case c.XDP.Pin == "", c.XDP.Chain != "":
	case onBPFFS(c.XDP.Pin):
		pin = c.XDP.Pin
	case c.XDP.KeepAttached:
		return nil, hint.Errorf("mount -t bpf bpf "+filepath.Dir(c.XDP.Pin), "setting keep-attached needs a bpffs, and setting pin %s is on none", c.XDP.Pin)
	default:
		k.log.Warn("no writable bpffs to pin to: the programs end with this process in any case", "pin", c.XDP.Pin,
			"hint", "mount -t bpf bpf "+filepath.Dir(c.XDP.Pin))
	}
	locks := make(map[string]*os.File)
	for _, iface := range c.XDP.Interfaces {
		if fd := c.Predecessor.File(pinsFile + iface); fd >= 0 {
			locks[iface] = os.NewFile(uintptr(fd), "pins")
		}
	}
	var err error
	if k.guard, err = bpf.Load(bpf.Options{Interfaces: c.XDP.Interfaces, Locks: locks, MaxFlows: c.kernelFlows(), PoolEntries: poolEntries(c), Pin: pin, Owner: c.XDP.Owner}); err != nil {
		return nil, err
	}
	if refused := k.guard.PinsRefused(); refused != nil {
		k.log.Warn("maps of an earlier guard are not taken over: its flows are lost", "pin", pin, "error", refused,
			"hint", "run once in monitor mode while sessions are learned anew")
	}
	if err = k.setPolicy(c); err != nil {
		k.guard.Close()
		return nil, err
	}
	return k, nil
}

// setPolicy sets in the kernel what applies to all services.
func (k *kernel) setPolicy(c *Config) error {
	return k.guard.SetPolicy(bpf.Policy{
		Handshake: c.HandshakeTimeout, IdleTimeout: c.longestIdle(), HeartbeatLimit: lostAfter, HarvestGrace: handoff.GraceTime,
		SecretLifetime: 2 * c.Services[0].Settings.RotateEvery, // as long as a running guard would accept it
		PassWhenLost:   c.XDP.PassWhenLost, AnswerRate: c.XDP.AnswerRate,
		HalfOpenPerSource: max(c.HalfOpenPerSource, 0),
	})
}

// longestIdle is the idle time of the flow table of all services; watchFlows knows that of each.
func (c *Config) longestIdle() time.Duration {
	idle := c.IdleTimeout
	for i := range c.Services {
		idle = max(idle, c.Services[i].Settings.IdleTimeout)
	}
	return idle
}

// onBPFFS reports whether dir is on a bpffs that can be written to, or would be if it were made.
func onBPFFS(dir string) bool {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	if errors.Is(err, unix.ENOENT) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &fs)
	}
	return err == nil && fs.Type == unix.BPF_FS_MAGIC && !errors.Is(unix.Access(dir, unix.W_OK), unix.EROFS)
}

// setSecret copies a keyring to the programs.
func (k *kernel) setSecret(ring *cookie.Keyring) error {
	return k.guard.SetSecret(ring.Current(), ring.Previous())
}

// attach attaches the programs in front of services and their workers. On failure nothing stays attached that was not attached before.
func (k *kernel) attach(services []*service) error {
	for _, v := range services {
		if err := k.mayStandOpen(v); err != nil {
			return err
		}
	}
	for _, d := range k.devices { // all before the first is touched
		if err := bpf.Usable(d.name); err != nil {
			return err
		}
	}
	for _, old := range k.guard.Services() {
		if !protects(services, old) {
			if err := k.guard.DeleteService(old); err != nil {
				return err
			}
		}
	}
	move := true
	for _, d := range k.devices {
		d.findPeer(k.config.Mode, k.log)
		move = move && bpf.MovesPackets(d.name)
	}
	if err := k.guard.SetWorkers(workerCPUs(services), move); err != nil {
		return err
	}
	for _, v := range services {
		if err := k.add(v); err != nil {
			return err
		}
	}
	for _, d := range k.devices {
		if err := k.attachTo(d); err != nil {
			return errors.Join(err, k.guard.Undo())
		}
	}
	k.ours = true
	if left, err := k.guard.DetachOthers(); err != nil {
		k.log.Warn("programs that an earlier guard left on other interfaces could not be detached", "interfaces", left, "error", err)
	} else if len(left) > 0 {
		k.log.Info("programs that an earlier guard left on other interfaces are detached", "interfaces", left)
	}
	for _, v := range services { // by the mode that they are attached in
		k.follow(v)
	}
	for _, v := range services {
		v.sayPort()
	}
	if k.config.KeepNeighbours {
		k.neighbours = newNeighbours(k.devices, k.guard.Senders, k.log)
	}
	k.lookAround(services)
	return nil
}

// Capabilities returns the capabilities (unix.CAP_*) that the server needs to the end, to detach its programs.
func (s *Server) Capabilities() []int {
	if s.kernel != nil && s.kernel.guard.EgressIsFilter() {
		return []int{unix.CAP_NET_ADMIN}
	}
	return nil
}

// rawFD is a file descriptor that is not on Go's network poller, as a syscall.RawConn.
type rawFD int

func (fd rawFD) Control(f func(uintptr)) error    { f(uintptr(fd)); return nil }
func (fd rawFD) Read(f func(uintptr) bool) error  { f(uintptr(fd)); return nil }
func (fd rawFD) Write(f func(uintptr) bool) error { f(uintptr(fd)); return nil }

// workerCPUs are the CPUs of the workers by number: those of one number, one of each service, share a CPU. If there are more
// workers than CPUs, each CPU's packets go to the first worker assigned to it.
func workerCPUs(services []*service) (cpus []int) {
	allowed := allowedCPUs()
	for _, v := range services {
		for i, w := range v.workers {
			if i < len(cpus) {
				continue
			}
			cpu := w.cpu
			if cpu < 0 && len(allowed) > 0 {
				cpu = allowed[i%len(allowed)]
			}
			cpus = append(cpus, max(cpu, 0))
		}
	}
	return cpus
}

// detach detaches the programs, or leaves them active if that was asked for and they are pinned. Programs of an earlier guard
// stay active if this one has not taken them over yet.
func (k *kernel) detach() error {
	if k == nil || !k.ours || k.config.KeepAttached {
		return nil
	}
	k.looking.Lock()
	k.off = true
	k.looking.Unlock()
	if err := k.guard.Detach(); err != nil {
		return hint.Errorf("command unload with setting interface "+strings.Join(k.config.Interfaces, ", and for "), "XDP is still attached: %w", err)
	}
	return nil
}

// close releases the daemon's handles of the programs, including shared memory.
func (k *kernel) close() {
	if k == nil {
		return
	}
	if err := k.guard.Close(); err != nil {
		k.log.Error("XDP could not be closed", "error", err)
	}
}
