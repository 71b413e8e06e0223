package xdp

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// BenchmarkFrame is the generator's own cost per frame, in CPU time: the frames go into a veth whose other end accepts
// none. -benchtime is a number of seconds (5x). A mix of one item has an inline template; several items are copied from a
// map.
func BenchmarkFrame(b *testing.B) {
	l, err := lab.New("cost")
	if err != nil {
		b.Skip("needs root: ", err)
	}
	defer l.Close()
	if err := l.Bare(); err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{"hello", "junk", "record", "wrong-cookie", "hello,junk", "hello=4,large,junk"} {
		mix, err := traffic.ParseMix(text, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			if err := l.Client.Do(func() error { return cost(b, mix) }); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// window is the duration of an iteration: long compared with the 20 ms that starting a call takes.
const window = time.Second

func cost(b *testing.B, mix traffic.Mix) error {
	f := flow("198.18.0.1:4433", "198.18.128.0/17")
	var err error
	if f.Interface, err = net.InterfaceByName(lab.ToMiddle); err != nil {
		return err
	}
	g, err := NewMix(f, mix, Options{})
	if err != nil {
		return err
	}
	defer g.Close()
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return err
	}
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), window)
		err := g.Run(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		return err
	}
	sent, err := g.Sent()
	if err != nil {
		return err
	}
	b.ReportMetric(float64(unix.TimevalToNsec(after.Stime)-unix.TimevalToNsec(before.Stime))/float64(sent), "cpu-ns/frame")
	return nil
}
