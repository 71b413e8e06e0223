package scenario

import (
	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/bench/peers"
)

// The limits of XDP, as programs that do nothing else.

func swapSubject() *Subject {
	return &Subject{Name: "bare XDP_TX swap", At: gen.Driver, Start: attach(peers.Swap)}
}

func dropSubject() *Subject {
	return &Subject{Name: "bare XDP_DROP", At: gen.Driver, Start: attach(peers.Drop)}
}

func attach(program func(device string) (func() error, error)) func(*Bed) error {
	return func(b *Bed) error {
		return b.Lab.Guard.Do(func() error {
			detach, err := program(b.Front())
			if err != nil {
				return err
			}
			b.Defer(detach)
			return nil
		})
	}
}
