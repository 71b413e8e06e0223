package gen

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/lab"
	"github.com/dtlsguard/dtlsguard/bench/traffic"
)

// BenchmarkFrame is what a frame costs the generator alone, in CPU time: they go into a veth whose other end takes
// none. A mix of one item is a template of its own; several items cost a copy out of a map.
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

func cost(b *testing.B, mix traffic.Mix) error {
	f := flow("198.18.0.1:4433", "198.18.128.0/17")
	var err error
	if f.Interface, err = net.InterfaceByName(lab.ToGuard); err != nil {
		return err
	}
	g, err := NewMix(f, mix, Options{Limit: uint64(b.N)})
	if err != nil {
		return err
	}
	defer g.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var before, after unix.Rusage
	b.ResetTimer()
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return err
	}
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if sent, err := g.Sent(); err != nil || sent >= uint64(b.N) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := g.Run(ctx); err != nil {
		return err
	}
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		return err
	}
	b.ReportMetric(float64(unix.TimevalToNsec(after.Stime)-unix.TimevalToNsec(before.Stime))/float64(b.N), "cpu-ns/op")
	return nil
}
