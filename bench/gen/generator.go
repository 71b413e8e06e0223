package gen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	// A call sends nothing for some 20 ms before and after: with 2^15 frames a call the link would be idle for
	// four fifths of the time, with 2^21 it is for a twentieth.
	repeat = 1 << 21
	// Callers that take turns on one CPU: one sends while the other is being set up or torn down.
	callers = 2
	// Frames between two looks at whether another thread should have the CPU. Whoever takes the answers off on
	// the same CPU must get it before they fill a ring, which for a veth is 256.
	batchSize = 128
	// A changed length makes the kernel set it again, so frames come so much too long into the program.
	slack = 8
	// What a late generator catches up with: the time in which a caller may be off its CPU.
	catchUp = 5 * time.Millisecond
)

// Generator sends frames of one flow and template.
type Generator struct {
	objects floodObjects
	input   []byte
	cpu     int
	ns      int // handle of the network namespace to send from
}

// New makes a generator that runs on one CPU. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
func New(f Flow, t Template, cpu int) (*Generator, error) {
	if err := f.check(); err != nil {
		return nil, fmt.Errorf("generator: %w", err)
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("generator: open network namespace: %w", err)
	}
	g := &Generator{cpu: cpu, ns: ns}
	if err := g.load(&f, &t); err != nil {
		return nil, errors.Join(fmt.Errorf("generator: load BPF program: %w", err), g.Close())
	}
	return g, nil
}

func (g *Generator) load(f *Flow, t *Template) error {
	spec, err := loadFlood()
	if err != nil {
		return err
	}
	frame, l := f.frame(t), f.layout()
	ip, udp := f.sums(frame)
	g.input = make([]byte, len(frame)+slack)
	var words [maxFrame]byte
	copy(words[:], frame)
	at := func(udpPayload int) uint32 {
		if udpPayload == 0 {
			return 0
		}
		return uint32(l.udpAt + udpHeader + udpPayload)
	}
	values := map[string]any{
		"frame": words, "words": uint32(len(frame)+7) / 8, "slack": uint32(slack),
		"source_at": uint32(l.sourceAt), "port_at": uint32(l.udpAt), "check_at": uint32(l.checkAt),
		"seq_at": at(t.seqAt), "random_at": at(t.randomAt), "source_mask": networkOrder(f.vary()),
		"ip_sum": ip, "udp_sum": udp, "out": uint32(f.Interface.Index), "burst": uint64(catchUp),
	}
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return err
	}
	return g.objects.Threads.Put(uint32(0), seeds())
}

// seeds starts the random numbers of each CPU somewhere.
func seeds() []floodThread {
	s := make([]floodThread, ebpf.MustPossibleCPU())
	for i := range s {
		s[i].State = rand.Uint64() | 1
	}
	return s
}

// Close gives all back, after Run has returned.
func (g *Generator) Close() error {
	return errors.Join(g.objects.Close(), unix.Close(g.ns))
}

// SetRate holds the generator to frames a second; 0 lets it go as fast as it can.
func (g *Generator) SetRate(frames float64) error {
	var each uint64
	if frames > 0 {
		each = max(1, uint64(float64(time.Second)/frames))
	}
	if err := g.objects.Interval.Set(each); err != nil {
		return fmt.Errorf("set rate of generator: %w", err)
	}
	return nil
}

// Sent is the number of frames made so far, whether or not the link took them.
func (g *Generator) Sent() (uint64, error) {
	var threads []floodThread
	if err := g.objects.Threads.Lookup(uint32(0), &threads); err != nil {
		return 0, fmt.Errorf("read generator's counters: %w", err)
	}
	var sent uint64
	for i := range threads {
		sent += threads[i].Sent
	}
	return sent, nil
}

// Frame makes one frame and does not send it.
func (g *Generator) Frame() ([]byte, error) {
	o := ebpf.RunOptions{Data: g.input, DataOut: make([]byte, len(g.input))}
	if _, err := g.objects.Flood.Run(&o); err != nil {
		return nil, fmt.Errorf("make a frame: %w", err)
	}
	return o.DataOut, nil
}

// Run sends until ctx ends. It takes the CPU for itself.
func (g *Generator) Run(ctx context.Context) error {
	if err := g.objects.Stop.Set(uint32(0)); err != nil {
		return fmt.Errorf("start generator: %w", err)
	}
	// A call goes through its frames to the end; told to stop, it does so without sending them.
	halt := context.AfterFunc(ctx, func() { _ = g.objects.Stop.Set(uint32(1)) })
	defer halt()
	errs := make([]error, callers)
	var done sync.WaitGroup
	for i := range callers {
		done.Go(func() { errs[i] = g.call(ctx) })
	}
	done.Wait()
	return errors.Join(errs...)
}
