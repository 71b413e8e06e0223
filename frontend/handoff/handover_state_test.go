package handoff

import (
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
)

// Numbers of a pool that make no sense are refused before anything is adopted: with them the first client would end the guard.
func TestAdoptRefusesNumbersOutOfRange(t *testing.T) {
	const n = 7
	for what, change := range map[string]func(*PoolState){
		"":                  func(*PoolState) {},
		"in use, below 0":   func(s *PoolState) { s.InUse = -1 },
		"in use, too many":  func(s *PoolState) { s.InUse = n + 1 },
		"bounded, below 0":  func(s *PoolState) { s.Bounded = -1 },
		"bounded, too many": func(s *PoolState) { s.Bounded = n + 1 },
		"most, below 0":     func(s *PoolState) { s.Most = -1 },
		"size, below 0":     func(s *PoolState) { s.Size = -1 },
		"no size":           func(s *PoolState) { s.Size = 0 },
		"size, too many":    func(s *PoolState) { s.Size = MaxPool*2 + 1 },
		"no entries":        func(s *PoolState) { s.Entries = nil },
		"too few ports":     func(s *PoolState) { s.Ports = s.Ports[1:] },
	} {
		s := &PoolState{Size: n - 1, InUse: n, First: "127.0.0.1", Ports: make([]uint16, n), Entries: make([]byte, n*unsafe.Sizeof(Entry{}))}
		change(s)
		b := newBackend(Config{Server: netip.MustParseAddrPort("127.0.0.1:4433")})
		p, err := b.adoptPool(s, &handover.Files{})
		if want := what != ""; errors.Is(err, errState) != want || !want && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if p != nil {
			p.close()
		}
	}
}
