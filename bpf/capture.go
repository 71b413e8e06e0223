package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"

	"golang.org/x/sys/unix"
)

// captureMaps belong to a capture, and are not pinned.
var captureMaps = []string{guardMapCapture, guardMapSample, guardMapCaptured}

// SnapLength is how many bytes of a frame a capture has: most ClientHellos whole.
const SnapLength = len(guardPacketSample{}.Bytes)

// CaptureFilter says what a capture samples.
type CaptureFilter struct {
	Service  ServiceKey // the zero value: all services
	Verdicts uint64     // a bit for each Verdict
	Reasons  uint32     // a bit for each hello.Reason that DropMalformed may have
	Rate     Rate       // of samples, whatever comes; PerSecond 0: no limit
}

// Sample is a packet to a service as it came in.
type Sample struct {
	Service ServiceKey
	Source  netip.Addr
	Verdict Verdict
	Monitor bool          // the packet passed, whatever the verdict: the service is monitored, or was during the capture
	Reason  uint8         // hello.Reason
	Age     time.Duration // since it came
	Length  int           // of the frame
	Frame   []byte        // at most SnapLength bytes of it
	UDP     int           // offset of the UDP header in the frame; 0: it has none
}

// Capture is one that runs. There is at most one.
type Capture struct {
	programs *Programs
	ring     *ringbuf.Reader
	record   ringbuf.Record
	filter   *guardCaptureFilter // in memory that the programs read
	memory   []byte              // nil: it has ended
	lost     uint64              // then
	monitors []bool              // by element of the services map: monitored since the capture began
}

// ErrCapturing says that another capture runs.
var ErrCapturing = errors.New("another capture is running")

// Capture starts a capture, which its Close ends. It needs no capability.
func (g *Programs) Capture(f CaptureFilter) (*Capture, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return nil, ErrClosed
	}
	index := uint32(0)
	if f.Service != (ServiceKey{}) {
		i, ok := g.find(f.Service)
		if !ok {
			return nil, fmt.Errorf("capture packets of %v: %w", f.Service, ErrNoService)
		}
		index = i + 1
	}
	if !atomic.CompareAndSwapUint32(&g.control.Capturing, 0, captureStarts) {
		return nil, ErrCapturing
	}
	c := &Capture{programs: g, monitors: make([]bool, len(g.services))}
	for i := range g.services {
		c.monitors[i] = g.services[i].monitor
	}
	var err error
	if c.ring, err = ringbuf.NewReader(g.maps.Captured); err == nil {
		c.memory, err = unix.Mmap(g.maps.Capture.FD(), 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		if c.ring != nil {
			c.ring.Close()
		}
		atomic.StoreUint32(&g.control.Capturing, 0)
		return nil, fmt.Errorf("capture packets: %w", err)
	}
	for c.ring.AvailableBytes() > 0 { // of the one before
		if err := c.ring.ReadInto(&c.record); err != nil {
			break
		}
	}
	cost, burst := f.Rate.gcra()
	c.filter = (*guardCaptureFilter)(unsafe.Pointer(&c.memory[0]))
	*c.filter = guardCaptureFilter{Verdicts: f.Verdicts, Cost: cost, Burst: burst, Reasons: f.Reasons, Service: index}
	atomic.StoreUint32(&g.control.Capturing, captureRuns)
	return c, nil
}

// Values of control.capturing, for which the programs know 0 and anything else.
const (
	captureStarts = 1 // with the filter of the one before, whose samples are thrown away
	captureRuns   = 2
)

// SetDeadline ends waits of Read at t, with os.ErrDeadlineExceeded.
func (c *Capture) SetDeadline(t time.Time) { c.ring.SetDeadline(t) }

// Read waits for a sample, which the next call overwrites. After Close it returns os.ErrClosed.
func (c *Capture) Read() (s Sample, err error) {
	if err := c.ring.ReadInto(&c.record); err != nil {
		return s, err
	}
	if len(c.record.RawSample) < int(unsafe.Sizeof(guardPacketSample{})) {
		return s, errors.New("a sample is too short")
	}
	r := (*guardPacketSample)(unsafe.Pointer(&c.record.RawSample[0]))
	s = Sample{Source: addr(r.Saddr), Verdict: Verdict(r.Verdict), Reason: r.Reason, Age: time.Duration(monotonic() - r.Time), Length: int(r.Length), UDP: int(r.L4)}
	s.Frame = r.Bytes[:min(s.Length, SnapLength)]
	c.programs.mu.Lock()
	defer c.programs.mu.Unlock()
	if i := int(r.Service); i < len(c.programs.services) {
		now := &c.programs.services[i]
		c.monitors[i] = c.monitors[i] || now.monitor
		s.Service, s.Monitor = now.key, c.monitors[i]
	}
	return s, nil
}

// Ethernet reports whether frames begin with an Ethernet header; they begin with IP if not.
func (g *Programs) Ethernet() bool { return g.linkHeader }

// Lost is how many samples the daemon was too slow for.
func (c *Capture) Lost() uint64 {
	c.programs.mu.Lock()
	defer c.programs.mu.Unlock()
	if c.memory != nil {
		c.lost = atomic.LoadUint64(&c.filter.Lost)
	}
	return c.lost
}

// Close ends the capture. Read, which may be under way in another goroutine, returns.
func (c *Capture) Close() error {
	lost := c.Lost()
	g := c.programs
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.memory == nil {
		return nil
	}
	if g.control != nil {
		atomic.StoreUint32(&g.control.Capturing, 0)
	}
	err := errors.Join(c.ring.Close(), unix.Munmap(c.memory))
	c.memory, c.lost = nil, lost
	return err
}

// Payload is where the datagram begins in the frame, if it is one.
func (s *Sample) Payload() (offset int, ok bool) {
	offset = s.UDP + udpHeader
	return offset, s.UDP > 0 && offset <= len(s.Frame)
}

const udpHeader = 8
