package bpf

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// samples reads n samples.
func samples(t *testing.T, c *Capture, n int) (all []Sample) {
	t.Helper()
	c.ring.SetDeadline(time.Now().Add(await.Patience))
	for range n {
		s, err := c.Read()
		if err != nil {
			t.Fatalf("%d of %d samples: %v", len(all), n, err)
		}
		s.Frame = bytes.Clone(s.Frame)
		all = append(all, s)
	}
	if left := c.ring.AvailableBytes(); left > 0 {
		t.Errorf("%d bytes of further samples", left)
	}
	return all
}

func capture(t *testing.T, g *Programs, f CaptureFilter) *Capture {
	t.Helper()
	c, err := g.Capture(f)
	need(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return c
}

// A sample has the packet as it arrived, even if the programs turn it into an answer, and its verdict.
func TestCaptureHasVerdicts(t *testing.T) {
	strict := inline()
	strict.Unverified = UnverifiedDrop
	g := guarding(t, strict)
	run(t, g, newPacket(malformed).bytes()) // no capture runs: it is nowhere
	c := capture(t, g, CaptureFilter{Verdicts: ^uint64(0), Reasons: ^uint32(0)})
	question := newPacket(hellotest.New().Bytes()).bytes()
	long := newPacket(make([]byte, 1200)).bytes()
	for _, frame := range [][]byte{bytes.Clone(question), newPacket(malformed).bytes(), bytes.Clone(long)} {
		run(t, g, frame)
	}
	all := samples(t, c, 3)
	for i, want := range []struct {
		verdict Verdict
		reason  hello.Reason
		frame   []byte
	}{{Answered, hello.OK, question}, {DropMalformed, 0, newPacket(malformed).bytes()}, {DropUnverified, hello.NotDTLS, long}} {
		s := all[i]
		if want.reason == 0 && want.verdict == DropMalformed {
			want.reason = hello.Parse(malformed, new(hello.ClientHello))
		}
		head := want.frame[:min(len(want.frame), SnapLength)]
		if s.Verdict != want.verdict || hello.Reason(s.Reason) != want.reason {
			t.Errorf("sample %d: %v, %v; want %v, %v", i, s.Verdict, hello.Reason(s.Reason), want.verdict, want.reason)
		}
		if !bytes.Equal(s.Frame, head) || s.Length != len(want.frame) || s.Service != inline().ServiceKey || s.Age > time.Minute {
			t.Errorf("sample %d: %d of %d bytes %v ago to %v, want the frame as it came, of %d", i, len(s.Frame), s.Length, s.Age, s.Service, len(want.frame))
		}
		if s.Source != client4.Addr() {
			t.Errorf("sample %d comes from %v, want %v", i, s.Source, client4.Addr())
		}
		if at, ok := s.Payload(); !ok || at != 14+20+8 {
			t.Errorf("sample %d: the datagram is at %d", i, at)
		}
	}
}

// Only the packets asked for are sampled, and never above the rate.
func TestCaptureIsBounded(t *testing.T) {
	other := inline()
	other.Port, other.WorkersPort = 4434, 4445
	g := guarding(t, inline(), other)
	flood := func(g *Programs) {
		for range 100 {
			run(t, g, newPacket(hellotest.New().Bytes()).bytes())
			run(t, g, newPacket(malformed).bytes())
		}
	}
	c := capture(t, g, CaptureFilter{Verdicts: 1 << DropMalformed, Reasons: ^uint32(0), Rate: Rate{PerSecond: 1e-3, Burst: 3}})
	if _, err := g.Capture(CaptureFilter{}); !errors.Is(err, ErrCapturing) {
		t.Errorf("a second capture: %v", err)
	}
	flood(g)
	for _, s := range samples(t, c, 3) {
		if s.Verdict != DropMalformed {
			t.Errorf("%v is sampled", s.Verdict)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after the end: %v", err)
	}
	reason := hello.Parse(malformed, new(hello.ClientHello))
	for name, f := range map[string]CaptureFilter{
		"another service": {Verdicts: ^uint64(0), Reasons: ^uint32(0), Service: other.ServiceKey},
		"another reason":  {Verdicts: 1 << DropMalformed, Reasons: ^(uint32(1) << reason)},
	} {
		c := capture(t, g, f)
		flood(g)
		if n := c.ring.AvailableBytes(); n > 0 {
			t.Errorf("%s: %d bytes are sampled", name, n)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A guard that was killed while it captured leaves no capture to the next one.
func TestCaptureEndsWithItsGuard(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	g := load(t, pinsTo(dir))
	attach(t, l, g, lab.ToClient, AttachNative)
	_, err := g.Capture(CaptureFilter{})
	need(t, err)
	need(t, g.Close()) // what a SIGKILL leaves: pins, no handle
	g = load(t, pinsTo(dir))
	attach(t, l, g, lab.ToClient, AttachNative)
	capture(t, g, CaptureFilter{})
	need(t, g.Detach())
}

// A sample says that its packet passed in monitor mode, also once the service enforces while samples are still to be read.
func TestCaptureTellsMonitorMode(t *testing.T) {
	watched := inline()
	watched.Monitor = true
	g := guarding(t, watched)
	all := CaptureFilter{Verdicts: ^uint64(0), Reasons: ^uint32(0)}
	c := capture(t, g, all)
	run(t, g, newPacket([]byte("STUN")).bytes())
	need(t, g.SetService(inline()))
	if s := samples(t, c, 1)[0]; !s.Monitor {
		t.Errorf("%v of a service in monitor mode is not told from one that is enforced", s.Verdict)
	}
	need(t, c.Close())
	c = capture(t, g, all)
	run(t, g, newPacket([]byte("STUN")).bytes())
	if s := samples(t, c, 1)[0]; s.Monitor {
		t.Errorf("%v of a service that enforces is said to be of one in monitor mode", s.Verdict)
	}
}
