package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// XDP says what runs in the kernel in front of the workers. With an empty Interface nothing does.
type XDP struct {
	Interface      string
	Mode           bpf.AttachMode
	Answer         bpf.Answer // who answers ClientHellos; AnswerAuto is the best that the service and the mode allow
	Unverified     bpf.Unverified
	UnverifiedRate bpf.Rate  // for UnverifiedLimit
	Pass           bpf.Class // protocols that share the port and are let through
	AnswerRate     bpf.Rate  // answers of one CPU in the kernel, to all services together; zero: no limit
	PassWhenLost   bool      // ClientHellos that nobody answers, with the daemon dead, go to the server
	KeepAttached   bool      // a guard that is told to stop leaves its programs in force
	Monitor        bool      // count verdicts, enforce nothing
	Pin            string    // directory on a bpffs below which programs and maps outlive the process; "": they do not
}

// Times between a daemon and its programs.
const (
	// beatEvery and lostAfter: ten heartbeats may be missed before a daemon counts as dead, so that neither the
	// scheduler nor the garbage collector makes it look so.
	beatEvery = 200 * time.Millisecond
	lostAfter = 2 * time.Second
	// creditBudget is how many ClientHellos may be on their way to one worker: at some 5 us each in the stack
	// they are a queue of 5 ms, which keeps the worker busy and fits its socket's buffer.
	creditBudget = 1024
)

// kernel is the XDP side of a server.
type kernel struct {
	config *XDP
	guard  *bpf.Programs
	ours   bool // what is attached is of this process
	mode   bpf.AttachMode
	log    *slog.Logger
}

// openKernel loads the programs, or takes over what an earlier guard left in force; nothing is attached yet.
func openKernel(c *Config) (*kernel, error) {
	k := &kernel{config: &c.XDP, log: c.Log}
	pin := ""
	switch {
	case c.XDP.Pin == "":
	case onBPFFS(c.XDP.Pin):
		pin = bpf.PinDir(c.XDP.Pin, c.XDP.Interface)
	case c.XDP.KeepAttached:
		return nil, fmt.Errorf("--keep-attached needs a bpffs, and --pin %s is on none: mount -t bpf bpf %s", c.XDP.Pin, filepath.Dir(c.XDP.Pin))
	default:
		k.log.Warn("no bpffs to pin to: the programs end with this process, whatever ends it", "pin", c.XDP.Pin,
			"hint", "mount -t bpf bpf "+filepath.Dir(c.XDP.Pin))
	}
	var err error
	if k.guard, err = bpf.Load(bpf.Options{MaxFlows: c.MaxFlows, Slots: len(c.Services) * handoff.Ports(c.HarvestPool), Pin: pin}); err != nil {
		return nil, err
	}
	err = k.guard.SetPolicy(bpf.Policy{
		IdleTimeout: c.IdleTimeout, HeartbeatLimit: lostAfter, HarvestGrace: handoff.GraceTime,
		SecretLifetime: 2 * c.RotateEvery, // as long as a living guard would honour it
		PassWhenLost:   c.XDP.PassWhenLost, AnswerRate: c.XDP.AnswerRate,
	})
	if err != nil {
		k.guard.Close()
		return nil, err
	}
	return k, nil
}

// onBPFFS reports whether dir is on a bpffs, or would be if it were made.
func onBPFFS(dir string) bool {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Statfs(filepath.Dir(dir), &fs)
	}
	return err == nil && fs.Type == unix.BPF_FS_MAGIC
}

// setSecret brings a keyring to the programs.
func (k *kernel) setSecret(ring *cookie.Keyring) error {
	return k.guard.SetSecret(ring.Current(), ring.Previous())
}

// key names a service to the programs: the wildcard of both families is the zero address.
func (v *service) key() bpf.ServiceKey {
	k := bpf.ServiceKey{Address: v.listen.Addr(), Port: v.listen.Port()}
	if k.Address == netip.IPv6Unspecified() {
		k.Address = netip.Addr{}
	}
	return k
}

// table makes the memory of v's pool, where the programs read it.
func (k *kernel) table(v *service, size int) handoff.Table {
	var err error
	if v.slots, err = k.guard.NewSlots(size); err != nil {
		k.log.Warn("XDP cannot give harvested cookies: workers will", "listen", v.listen, "error", err)
		return handoff.NewTable(size)
	}
	return handoff.Table{Slots: handoff.SlotsOf(v.slots.Memory), Clock: v.slots.Clock}
}

// format says how far the programs know the cookies of the hand-off that v needs at the moment.
func (v *service) format() bpf.Format {
	switch k := v.kind(); {
	case k == handoff.NativeHMAC && v.inline:
		return bpf.FormatV1
	case k == handoff.Trust, k == handoff.Replay, k == handoff.DoubleHVR:
		if v.config.MAC == cookie.SipHash {
			return bpf.FormatV2
		}
		return bpf.FormatV1
	case k == handoff.NativeQt && v.inline && !v.fit.Mapped:
		return bpf.FormatQt
	case k == handoff.Harvest && v.slots.Memory != nil && v.backend.CookieLength() <= cookie.Size:
		return bpf.FormatHarvest
	}
	return bpf.FormatWorkers
}

// manner is what the programs are told of a service's hand-off.
type manner struct {
	kind   handoff.Mode
	format bpf.Format
}

func (v *service) manner() manner { return manner{v.kind(), v.format()} }

// protect tells the programs of a service, as if they were attached in the given mode.
func (k *kernel) protect(v *service, mode bpf.AttachMode) error {
	c := v.config
	s := bpf.Service{
		ServiceKey: v.key(), Proxy: !v.inline, Answer: k.config.Answer, Unverified: k.config.Unverified,
		Format: v.format(), Slots: v.slots,
		Pass: k.config.Pass, Monitor: k.config.Monitor, UnverifiedRate: k.config.UnverifiedRate,
		SourceRate:  bpf.Rate{PerSecond: c.HelloRate.PerSecond, Burst: uint32(c.HelloRate.Burst)},
		ServiceRate: bpf.Rate{PerSecond: c.BackendHelloRate.PerSecond, Burst: uint32(c.BackendHelloRate.Burst)},
	}
	// Where the programs do not know a right cookie, a client that showed one to a worker may show it again.
	s.FlowHellos = v.kind() == handoff.DoubleHVR || v.inline && s.Format == bpf.FormatWorkers
	if v.inline && len(v.workers) > 0 {
		s.WorkersPort = v.workers[0].conn.Local().Port()
	}
	switch {
	case s.Format == bpf.FormatWorkers && k.config.Answer == bpf.AnswerXDP:
		return hint.Usagef("--answer xdp needs cookies that the kernel can make, and only workers can make those of %v, which %v is handed over by: leave --answer out, or see to it that --handoff trust can be used",
			v.kind(), v.listen)
	case s.Format == bpf.FormatWorkers:
		s.Answer = bpf.AnswerWorkers
	case k.config.Answer == bpf.AnswerAuto && mode == bpf.AttachNative:
		s.Answer = bpf.AnswerXDP // an answer in the driver costs a seventh of one through the stack (bench/README.md)
	}
	if !v.inline { // the proxy's own limits come after the cookie
		s.SourceRate, s.ServiceRate = bpf.Rate{}, bpf.Rate{}
	}
	return k.guard.SetService(s)
}

// attach puts the programs in front of services and their workers. Whatever fails, nothing stays attached.
func (k *kernel) attach(services []*service) error {
	for _, old := range k.guard.Services() {
		if !protects(services, old) {
			if err := k.guard.DeleteService(old); err != nil {
				return err
			}
		}
	}
	cpus := workerCPUs(services)
	if err := k.guard.SetWorkers(cpus); err != nil {
		return err
	}
	for _, v := range services {
		if err := k.protect(v, bpf.AttachNative); err != nil {
			return err
		}
		for i, w := range v.workers {
			// A proxy's flow lives with the worker that opened it, whatever CPU the client's later packets arrive on:
			// veth, RPS and irqbalance move them. So there the kernel's own choice holds, a hash of the addresses.
			// A socket that is alone in its group is in none to the kernel, which has nothing to choose.
			if v.inline && len(v.workers) > 1 {
				if err := k.guard.AddSocket(v.key(), i, rawFD(w.conn.FD())); err != nil {
					return err
				}
			}
			credit := k.guard.Credit(i)
			credit.Refill(creditBudget) // before the worker runs, so that the first client is not turned away
			w.kernel, w.credit = k, &credit
		}
	}
	var err error
	if k.mode, err = k.guard.Attach(k.config.Interface, k.config.Mode); err != nil {
		return err
	}
	k.ours = true
	if k.mode == bpf.AttachGeneric {
		for _, v := range services {
			if err := k.protect(v, k.mode); err != nil {
				return err
			}
		}
		if k.config.Mode == bpf.AttachAuto {
			k.log.Warn("the driver has no XDP: programs run behind it, in generic mode, several times slower", "interface", k.config.Interface,
				"see", "dtlsguard check --interface "+k.config.Interface)
		}
	}
	k.log.Info("XDP attached", "interface", k.config.Interface, "mode", k.mode)
	return nil
}

// rawFD is a file descriptor that is not on Go's network poller, as a syscall.RawConn.
type rawFD int

func (fd rawFD) Control(f func(uintptr)) error    { f(uintptr(fd)); return nil }
func (fd rawFD) Read(f func(uintptr) bool) error  { f(uintptr(fd)); return nil }
func (fd rawFD) Write(f func(uintptr) bool) error { f(uintptr(fd)); return nil }

func protects(services []*service, k bpf.ServiceKey) bool {
	for _, v := range services {
		if v.key() == k {
			return true
		}
	}
	return false
}

// workerCPUs are the CPUs of the workers by number: those of one number, one of each service, share a CPU. Workers that
// are more than the CPUs are on none of their own: each CPU's packets go to the first that counts as its.
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

// admit lets a client's packets through that proved its address to a worker, by a cookie that the programs
// cannot read.
func (k *kernel) admit(v *service, client udpbatch.Endpoint) {
	if err := k.guard.AddFlow(v.key(), client.AddrPort()); err != nil {
		k.log.Warn("verified client could not be made known to XDP", "error", err)
	}
}

// forget takes that back.
func (k *kernel) forget(v *service, client udpbatch.Endpoint) {
	if err := k.guard.DeleteFlow(v.key(), client.AddrPort()); err != nil {
		k.log.Warn("flow could not be taken back from XDP", "error", err)
	}
}

// beat tells the programs that the daemon is alive until ctx ends, and of back ends that came back after a
// restart with another way to be handed clients.
func (k *kernel) beat(ctx context.Context, services []*service) {
	told := make([]manner, len(services))
	for i, v := range services {
		told[i] = v.manner()
	}
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		k.guard.Heartbeat()
		for i, v := range services {
			if now := v.manner(); now != told[i] {
				told[i] = now
				if err := k.protect(v, k.mode); err != nil {
					k.log.Error("XDP could not follow the back end", "listen", v.listen, "error", err)
				}
			}
		}
	}
}

// detach takes the programs off, or leaves them in force if that was asked for and they are pinned. What an earlier
// guard left in force stays so if this one has not come to take it over.
func (k *kernel) detach() {
	if k == nil || !k.ours || k.config.KeepAttached {
		return
	}
	if err := k.guard.Detach(); err != nil {
		k.log.Error("XDP could not be detached", "error", err, "hint", "dtlsguard unload --interface "+k.config.Interface)
	}
}

// close gives back what the daemon holds of the programs, their memory included.
func (k *kernel) close() {
	if k == nil {
		return
	}
	if err := k.guard.Close(); err != nil {
		k.log.Error("XDP could not be closed", "error", err)
	}
}
