package scenario

import (
	"crypto/rand"
	"fmt"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
)

// guardOptions is what differs between guards under test.
type guardOptions struct {
	services  int            // at this address, besides the flooded one
	flows     int            // verified ones of the flooded service
	admission bpf.Admission  // of the flooded service
	mode      bpf.AttachMode // how it is attached; AttachAuto: native or failure
	format    bpf.Format
	refuses   bool           // verified clients, all but one of them: a proxy whose limit they exceed
	secret    *cookie.Secret // nil: a new one
}

// guardSubject is the guard's XDP program, which answers by itself.
func guardSubject(name string, o guardOptions) *Subject {
	return &Subject{Name: name, At: xdp.Driver, Handled: rightAnswers, Start: func(b *Testbed) error { return startGuard(b, o) }}
}

// guardKeyID is the key ID of the guard's secret: only for a cookie with this byte 0 does the guard compute a cookie.
const guardKeyID = 0x42

func startGuard(b *Testbed, o guardOptions) error {
	g, err := bpf.Load(bpf.Options{})
	if err != nil {
		return err
	}
	b.Defer(g.Close)
	if o.secret == nil {
		secret, err := cookie.NewSecret(rand.Reader)
		if err != nil {
			return err
		}
		o.secret = &secret
	}
	ring := cookie.NewKeyring(*o.secret, guardKeyID)
	if err := g.SetSecret(ring.Current(), nil); err != nil {
		return err
	}
	if err := protect(b, g, o); err != nil {
		return err
	}
	b.key, b.format, b.retries = ring.Current(), o.format, o.admission.DTLS13
	if o.mode == bpf.AttachAuto {
		o.mode = bpf.AttachNative
	}
	return b.Lab.Middle.Do(func() error {
		mode, err := g.Attach(b.Front(), o.mode)
		if err == nil && mode != o.mode {
			err = fmt.Errorf("attached in %v mode", mode)
		}
		return err
	})
}

// protect adds the services and flows.
func protect(b *Testbed, g *bpf.Programs, o guardOptions) error {
	key := bpf.ServiceKey{Address: b.Service.Addr(), Port: b.Service.Port()}
	s := bpf.Service{ServiceKey: key, Answer: bpf.AnswerXDP, Format: o.format, Admission: o.admission}
	if o.refuses {
		s.Proxy, s.ServiceRate = true, bpf.Rate{PerSecond: 1}
	}
	if err := g.SetService(s); err != nil {
		return err
	}
	for i := range o.services {
		other := bpf.ServiceKey{Address: key.Address, Port: uint16(10000 + i)}
		if err := g.SetService(bpf.Service{ServiceKey: other, Answer: bpf.AnswerXDP}); err != nil {
			return err
		}
	}
	for i := range o.flows {
		if err := g.AddFlow(key, flowPeer(i)); err != nil {
			return err
		}
	}
	return nil
}

// flowPeer is the i-th of many peers, none of them a source of the flood.
func flowPeer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(64 + i/65536), byte(i)}), uint16(1024+i/256%256))
}
