package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/capture"
)

// CaptureOptions select what is captured, and for how long.
type CaptureOptions struct {
	CaptureFilter
	Service string        // name or address; "": all
	Rate    float64       // samples per second, of XDP and of all workers each
	Count   int           // ends after this many samples; 0: no end
	For     time.Duration // ends after that; 0: no end
	Payload bool          // also application data
}

const (
	// DefaultCaptureRate suffices to see what a flood consists of, at a cost that is not measurable.
	DefaultCaptureRate = 100
	// MaxCaptureRate is what a reader of the file can keep up with.
	MaxCaptureRate = 100_000
	// captureQueue holds a burst of samples while the file is written.
	captureQueue = 1024
)

// errCapturing: another capture is running; XDP and workers sample for one at a time.
var errCapturing = errors.New("another capture is running")

// sample is a datagram on its way to a capture's file.
type sample struct {
	at       int64 // CLOCK_MONOTONIC, ns, as the workers' clock
	origin   capture.Origin
	service  string
	outcome  outcome
	datagram string
	length   int
	n        int // of bytes
	bytes    [bpf.SnapLength]byte
}

// recording is a running capture.
type recording struct {
	options  CaptureOptions
	queue    chan sample
	ethernet bool          // see capture.Options
	lost     atomic.Uint64 // samples of workers that the queue had no room for
	bucket   atomic.Int64  // of workers' samples: generic cell rate algorithm, as in package limit
	tapped   []*worker
}

// lookAgain is how often a capture of all services looks for those that a reload has added.
const lookAgain = time.Second

// tap makes the workers of these services sample, unless they do already.
func (r *recording) tap(services []*service) {
	for _, v := range services {
		for _, w := range v.workers {
			if w.tap.CompareAndSwap(nil, newTap(r)) {
				r.tapped = append(r.tapped, w)
			}
		}
	}
}

func (r *recording) untap() {
	for _, w := range r.tapped {
		w.tap.Store(nil)
	}
}

// Capture writes clients' datagrams to w as pcapng, until ctx ends or a limit of the options is reached. flush is called when w has
// complete packets and none is queued.
func (s *Server) Capture(ctx context.Context, o CaptureOptions, w io.Writer, flush func() error) error {
	if err := o.check(); err != nil {
		return err
	}
	services, err := s.named(o.Service)
	if err != nil {
		return err
	}
	if !s.capturing.CompareAndSwap(false, true) {
		return errCapturing
	}
	defer s.capturing.Store(false)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.For > 0 {
		defer time.AfterFunc(o.For, cancel).Stop()
	}
	r := &recording{options: o, queue: make(chan sample, captureQueue)}
	format := capture.Options{Program: "dtlsguard", Snap: bpf.SnapLength}
	var kernel *bpf.Capture
	if s.kernel != nil {
		s.sampling.Lock() // waits for the end of a window
		defer s.sampling.Unlock()
		if kernel, err = s.captureKernel(services, &o); err != nil {
			return err
		}
		var reading sync.WaitGroup
		reading.Go(func() { s.readKernel(ctx, kernel, r) })
		defer reading.Wait()
		defer kernel.Close()
		defer cancel()
		format.Interface, format.Ethernet = strings.Join(s.config.XDP.Interfaces, ","), s.kernel.guard.Ethernet()
		r.ethernet = format.Ethernet
	}
	r.tap(services)
	defer r.untap()
	out, err := capture.NewWriter(w, format)
	if err != nil {
		return err
	}
	err = s.write(ctx, r, out, flush)
	if err == nil {
		err = out.Finish(capture.Workers, r.lost.Load())
	}
	if err == nil && kernel != nil {
		err = out.Finish(capture.XDP, kernel.Lost())
	}
	return errors.Join(err, out.Flush(), flush())
}

// write writes samples until ctx ends or there are enough.
func (s *Server) write(ctx context.Context, r *recording, out *capture.Writer, flush func() error) error {
	send := func() error { return errors.Join(out.Flush(), flush()) }
	if err := send(); err != nil { // shows the reader at once that the capture has begun
		return err
	}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for n := 0; r.options.Count == 0 || n < r.options.Count; {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			if r.options.Service == "" {
				r.tap(s.list())
			}
			continue
		case x := <-r.queue:
			n++
			p := capture.Packet{
				At: s.started.Add(time.Duration(x.at - s.zero)), Origin: x.origin, Length: x.length, Data: x.bytes[:x.n], Service: x.service,
				Verdict: x.outcome.verdict, Reason: x.outcome.reason, Datagram: x.datagram,
			}
			if err := out.Write(&p); err != nil {
				return fmt.Errorf("write a capture: %w", err)
			}
		}
		if len(r.queue) == 0 {
			if err := send(); err != nil {
				return fmt.Errorf("write a capture: %w", err)
			}
		}
	}
	return nil
}

// captureKernel starts sampling in the kernel.
func (s *Server) captureKernel(services []*service, o *CaptureOptions) (*bpf.Capture, error) {
	f := o.kernelFilter()
	f.Rate = bpf.Rate{PerSecond: o.Rate, Burst: uint32(captureBurst(o.Rate))}
	if o.Service != "" {
		f.Service = services[0].key()
	}
	c, err := s.kernel.guard.Capture(f)
	if errors.Is(err, bpf.ErrCapturing) {
		return nil, errCapturing
	}
	return c, err
}

// captureBurst is the samples of a tenth of a second.
func captureBurst(rate float64) float64 { return max(1, rate/10) }

// readKernel queues what the programs have sampled, until the capture is closed.
func (s *Server) readKernel(ctx context.Context, c *bpf.Capture, r *recording) {
	names := make(map[bpf.ServiceKey]string)
	for {
		k, err := c.Read()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				s.config.Log.Error("capture of XDP ended", "error", err)
			}
			return
		}
		if _, known := names[k.Service]; !known && k.Service != (bpf.ServiceKey{}) { // a reload may have added the service
			for _, v := range s.list() {
				names[v.key()] = v.name
			}
		}
		x := sample{at: s.clock() - int64(k.Age), origin: capture.XDP, service: names[k.Service], outcome: kernelOutcome(k.Verdict, k.Reason),
			datagram: datagramName(k.Reason), length: k.Length}
		x.n = copy(x.bytes[:], r.shown(&k, x.outcome))
		select {
		case r.queue <- x:
		case <-ctx.Done():
			return
		}
	}
}

// shown is what a capture shows of a frame. What is monitored has reached the server, whatever the verdict would have been.
func (r *recording) shown(k *bpf.Sample, o outcome) []byte {
	at, ok := k.Payload()
	if !ok || r.options.Payload {
		return k.Frame
	}
	return k.Frame[:at+capture.Visible(k.Frame[at:], o.verdict == passed || k.Monitor)]
}
