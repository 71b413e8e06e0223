package xdp

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

const (
	// A call sends nothing for some 20 ms before and after: with 2^15 frames per call the link would be idle for 80 %
	// of the time, with 2^21 it is for 5 %.
	repeat = 1 << 21
	// Callers alternate on one CPU: one sends while the other starts or ends its call.
	callers = 2
	// Frames between two points where the thread can be preempted. A receiver on the same CPU must run before the
	// frames fill a ring, which has 256 entries for a veth.
	batchSize = 128
	// Frames start too long by this, because only a changed length makes the kernel set it again.
	slack = 8
	// How much a late generator catches up: the time for which a caller may be off its CPU.
	catchUp = 5 * time.Millisecond
	// A carried datagram waits for a random part of path, counted in the flood's own frames, so that it meets the
	// rings as the flood has filled them. At full rate that is several rings of a veth, of 256 frames each.
	path = time.Millisecond
	// The rate of an unlimited generator, approximately.
	unlimited = 2e6
)

// Name and priority of this package's programs as tc filters, before Linux 6.6.
const (
	filterName     = "dtlsflood"
	filterPriority = 4434
)

// MaxBatch is the number of frames that the kernel makes at a time (TEST_XDP_MAX_BATCH).
const MaxBatch = 256

// Options of a generator.
type Options struct {
	CPU     int           // to run on
	Batch   uint32        // frames between two points where the thread can be preempted; 0: 128
	CatchUp time.Duration // how much of its rate a generator that was off its CPU catches up; 0: 5 ms
	Limit   uint64        // frames in all; 0: none
	// Carry is for clients that share the generator's CPU. They would send only while the flood pauses, and always
	// find room in rings that are full for others; so the generator collects what their sockets send to its
	// destination by its interface and sends it among its own frames. The sockets must compute their checksums
	// themselves.
	Carry bool
}

// Generator sends frames of one flow.
type Generator struct {
	objects floodObjects
	carrier *tc.Attachment
	input   []byte
	options Options
	ns      int // handle of the network namespace that frames are sent from
}

// New makes a generator of one template that runs on one CPU. It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON.
func New(f Flow, t Template, cpu int) (*Generator, error) {
	return NewMix(f, traffic.Single(t), Options{CPU: cpu})
}

// NewMix makes a generator of several templates.
func NewMix(f Flow, m traffic.Mix, o Options) (*Generator, error) {
	if err := errors.Join(f.Check(), m.Check()); err != nil {
		return nil, fmt.Errorf("generator: %w", err)
	}
	if o.Batch == 0 {
		o.Batch = batchSize
	}
	if o.CatchUp == 0 {
		o.CatchUp = catchUp
	}
	if o.Limit == 0 {
		o.Limit = math.MaxUint64
	}
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("generator: open network namespace: %w", err)
	}
	g := &Generator{options: o, ns: ns}
	if err := g.load(&f, m); err != nil {
		return nil, errors.Join(fmt.Errorf("generator: load BPF program: %w", err), g.Close())
	}
	return g, nil
}

func (g *Generator) load(f *Flow, m traffic.Mix) error {
	spec, err := loadFlood()
	if err != nil {
		return err
	}
	templates, longest, follows := lay(f, m)
	if g.options.Carry {
		longest = traffic.MaxFrame
	}
	g.input = make([]byte, longest+slack)
	l := f.Layout()
	var until [traffic.MaxItems]uint32
	copy(until[:], m.Thresholds())
	address, destination := f.Sources.Masked().Addr().AsSlice(), f.Destination.Addr().AsSlice()
	first, ports := f.Ports.Range()
	values := map[string]any{
		"items": uint32(len(m)), "until": until, "follows": follows,
		"source_at": uint32(l.SourceAt), "port_at": uint32(l.UDPAt), "check_at": uint32(l.CheckAt),
		"source_mask": traffic.NetworkOrder(f.Vary()), "source_base": binary.NativeEndian.Uint32(address[len(address)-4:]),
		"first_port": uint32(first), "ports": uint32(ports), "out": uint32(f.Interface.Index),
		"room":  uint32(len(g.input)),
		"burst": uint64(g.options.CatchUp), "limit": g.options.Limit,
	}
	if g.options.Carry {
		values["carries"], values["destination_at"] = uint32(1), uint32(l.DestAt)
		values["destination"] = binary.NativeEndian.Uint32(destination[len(destination)-4:])
		values["destination_port"] = traffic.NetworkOrder16(f.Destination.Port())
	}
	if len(templates) == 1 {
		values["single"], values["only"] = uint32(1), templates[0]
	}
	for name, v := range values {
		if err := spec.Variables[name].Set(v); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	if err := spec.LoadAndAssign(&g.objects, nil); err != nil {
		return err
	}
	if g.options.Carry {
		o := tc.Options{Interface: f.Interface.Index, Hook: tc.Egress, Name: filterName, Priority: filterPriority}
		if g.carrier, err = tc.Attach(g.objects.Collect, o); err != nil {
			return fmt.Errorf("attach to %s: %w", f.Interface.Name, err)
		}
	}
	for i := range templates {
		if err := g.objects.Templates.Put(uint32(i), &templates[i]); err != nil {
			return err
		}
	}
	state, err := seeds()
	if err != nil {
		return err
	}
	return g.objects.Threads.Put(uint32(0), state)
}

// lay places the first templates of all items, then those that follow them.
func lay(f *Flow, m traffic.Mix) (all []floodTemplate, longest int, follows uint32) {
	add := func(t *traffic.Template) {
		frame, at := f.Skeleton(t), f.Layout().PayloadAt()
		longest = max(longest, len(frame))
		c := floodTemplate{Length: uint32(len(frame))}
		if t.SeqAt != 0 {
			c.SeqAt = uint32(at + t.SeqAt)
		}
		if t.RandomAt != 0 {
			c.RandomAt = uint32(at + t.RandomAt)
		}
		if t.Question {
			c.Question = 1
		}
		c.IpSum, c.UdpSum = f.Sums(frame)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&c.Frame)), traffic.MaxFrame), frame)
		all = append(all, c)
	}
	for i := range m {
		add(&m[i].Templates[0])
	}
	for i := range m {
		before := i
		for j := range m[i].Templates[1:] {
			add(&m[i].Templates[1+j])
			all[before].Next, follows = uint32(len(all)-1), 1
			before = len(all) - 1
		}
	}
	return all, longest, follows
}

// seeds seeds each CPU's random number generator, and starts its rate now, so that there is nothing to catch up.
func seeds() ([]floodThread, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil { // the clock that the program reads
		return nil, fmt.Errorf("read clock: %w", err)
	}
	s := make([]floodThread, ebpf.MustPossibleCPU())
	for i := range s {
		s[i].State, s[i].Next = rand.Uint64()|1, uint64(now.Nano())
	}
	return s, nil
}

// Close releases everything, after Run has returned.
func (g *Generator) Close() error {
	var err error
	if g.carrier != nil {
		err = g.carrier.Close()
	}
	return errors.Join(err, g.objects.Close(), unix.Close(g.ns))
}

// SetRate limits the generator to frames per second; 0: unlimited.
func (g *Generator) SetRate(frames float64) error {
	var each uint64
	if frames > 0 {
		each = max(1, uint64(math.Round(float64(time.Second)/frames)))
	}
	frames = cmp.Or(frames, unlimited)
	if err := errors.Join(g.objects.Interval.Set(each), g.objects.Path.Set(uint32(1+frames*path.Seconds()))); err != nil {
		return fmt.Errorf("set rate of generator: %w", err)
	}
	return nil
}

// Sent returns the number of frames made so far, whether or not the link accepted them.
func (g *Generator) Sent() (uint64, error) {
	sent, _, err := g.Counts()
	return sent, err
}

// Counts returns the frames made so far, and those of them that require an answer.
func (g *Generator) Counts() (sent, questions uint64, err error) {
	var threads []floodThread
	if err := g.objects.Threads.Lookup(uint32(0), &threads); err != nil {
		return 0, 0, fmt.Errorf("read generator's counters: %w", err)
	}
	for i := range threads {
		sent += threads[i].Sent
		questions += threads[i].Questions
	}
	return sent, questions, nil
}

// Frame makes one frame and does not send it.
func (g *Generator) Frame() ([]byte, error) {
	o := ebpf.RunOptions{Data: g.input, DataOut: make([]byte, len(g.input))}
	if _, err := g.objects.Flood.Run(&o); err != nil {
		return nil, fmt.Errorf("make a frame: %w", err)
	}
	return o.DataOut, nil
}

// Run sends until ctx ends. It needs the CPU for itself.
func (g *Generator) Run(ctx context.Context) error {
	if err := errors.Join(g.objects.Stop.Set(uint32(0)), g.objects.Running.Set(uint32(1))); err != nil {
		return fmt.Errorf("start generator: %w", err)
	}
	// A call processes all its frames; once ctx has ended it does so without sending them.
	halt := context.AfterFunc(ctx, func() { _ = errors.Join(g.objects.Running.Set(uint32(0)), g.objects.Stop.Set(uint32(1))) })
	defer halt()
	errs := make([]error, callers)
	var done sync.WaitGroup
	for i := range callers {
		done.Go(func() { errs[i] = g.call(ctx) })
	}
	done.Wait()
	return errors.Join(errs...)
}
