package scenario

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

func flowPeer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 64, byte(i)}), uint16(1024+i/256))
}

func openssl12() []byte {
	for _, c := range hellotest.Captured() {
		if c.Name == "openssl-dtls12:1" {
			return c.Datagram
		}
	}
	panic("no capture")
}

func Try(window time.Duration) error {
	if err := PinSelf(); err != nil {
		return err
	}
	t, err := gen.FirstHello(openssl12())
	if err != nil {
		return err
	}
	for range 2 {
		for _, s := range []*Subject{guardSubject("xdp", guardOptions{}), swapSubject()} {
			b, err := newBed(s, t)
			if err != nil {
				return err
			}
			r, err := b.measure(0, window)
			samples, err2 := b.counter.Samples()
			fmt.Printf("%s %+v %v %v\n", s.Name, r, err, r.disturbed(true))
			fmt.Println(len(samples), err2)
			st := map[string]uint64{}
			b.Lab.Guard.Do(func() error { st, _ = statistics(b.Front()); return nil })
			fmt.Println(st)
			if err := b.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}
