package bpf

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

// Admission says how ClientHellos without a cookie are admitted. The zero Admission is for servers that accept cookies.
type Admission struct {
	Reset bool // clients prove their address and start over; Format must be one of the guard's own
	Limit bool // no challenge: ClientHellos above Rate are dropped
	Load  bool // with Reset: only ClientHellos above Rate are challenged
	// Versions that the server speaks, with Reset.
	DTLS12, DTLS13 bool
	Rate, Share    Rate // of ClientHellos from unproved addresses: all, and per network, /24 or /56
}

// flags are the ADMISSION_ flags of consts.h, in their order.
func (a *Admission) flags() (f uint32) {
	for i, is := range []bool{a.Reset, a.Limit, a.Load, a.DTLS12, a.DTLS13} {
		if is {
			f |= 1 << i
		}
	}
	return f
}

func (a *Admission) check(f Format) error {
	switch {
	case a.Reset && a.Limit:
		return errors.New("an admission with both Reset and Limit")
	case a.Reset && f != FormatV1 && f != FormatV2:
		return errors.New("an admission with Reset needs the guard's own cookies")
	case (a.Limit || a.Load) && a.Rate.PerSecond <= 0:
		return errors.New("a limit needs a rate above 0")
	}
	return nil
}

// Addresses returns the memory of proved addresses, laid out as package addresses' entries, for addresses.SetOf, and the key
// of its hash. Both outlive the process if the maps are pinned. The memory must not be used after Close.
func (g *Programs) Addresses() (memory []byte, key [2]uint64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return nil, key, ErrClosed
	}
	if g.control.AddressKey == key { // set once, before anything is attached
		var b [16]byte
		rand.Read(b[:]) // crashes rather than fail
		g.control.AddressKey = [2]uint64{native.Uint64(b[:]), native.Uint64(b[8:])}
	}
	return g.addressMemory, g.control.AddressKey, nil
}

// SetAddressLifetime sets for how long an unseen address stays proved.
func (g *Programs) SetAddressLifetime(d time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	atomic.StoreUint32(&g.control.AddressLifetime, uint32(d.Seconds()))
	return nil
}

// Verdicts on prefixes, as in enum listed.
const (
	listedNone  = 0
	listedAllow = 1
	listedDeny  = 2
)

// SetPrefixes replaces the prefixes that are allowed (false) or denied (true); the longest match decides. New ones are in
// force before old ones are removed. Only what differs from those before is written, for lists may have tens of thousands. No
// other method waits for it, except Close and Retake.
func (g *Programs) SetPrefixes(denied map[netip.Prefix]bool) error {
	g.listing.Lock()
	defer g.listing.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	now := prefixValues(denied)
	was := g.listed
	if g.listed = nil; was == nil {
		var err error
		if was, err = g.prefixes(); err != nil {
			return err
		}
	}
	for k, v := range now {
		if old, ok := was[k]; ok && old == v {
			continue
		}
		if err := g.maps.Prefixes.Put(&k, v); err != nil {
			return fmt.Errorf("write prefix to the kernel: %w", err)
		}
	}
	atomic.StoreUint32(&g.control.Prefixes, uint32(len(now)))
	for k := range was {
		if _, ok := now[k]; ok {
			continue
		}
		if err := g.maps.Prefixes.Delete(&k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete prefix in the kernel: %w", err)
		}
	}
	if len(g.options.Locks) == 0 { // else the guard before may still have written to the map
		g.listed = now
	}
	return nil
}

// prefixes are those that the kernel has: after a takeover, those of the guard before.
func (g *Programs) prefixes() (map[guardPrefixKey]uint32, error) {
	all := make(map[guardPrefixKey]uint32, atomic.LoadUint32(&g.control.Prefixes))
	var k guardPrefixKey
	var v uint32
	it := g.maps.Prefixes.Iterate()
	for it.Next(&k, &v) {
		all[k] = v
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("list the kernel's prefixes: %w", err)
	}
	return all, nil
}

// prefixValues are the elements of the kernel's map that stand for prefixes.
func prefixValues(denied map[netip.Prefix]bool) map[guardPrefixKey]uint32 {
	values := make(map[guardPrefixKey]uint32, len(denied)+1)
	for p, deny := range denied {
		v := uint32(listedAllow)
		if deny {
			v = listedDeny
		}
		values[prefixKey(p)] = v
	}
	ipv4 := prefixKey(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	if _, said := values[ipv4]; !said && len(values) > 0 {
		values[ipv4] = listedNone // ::/0 is all of IPv6, and says nothing of the mapped addresses in it
	}
	return values
}

// prefixKey is p as a prefix of 128-bit addresses.
func prefixKey(p netip.Prefix) guardPrefixKey {
	k := guardPrefixKey{Length: uint32(p.Bits()), Addr: words(p.Masked().Addr())}
	if p.Addr().Is4() {
		k.Length += 96
	}
	return k
}

// EngagedUntil returns until when a service challenges unproved addresses because there were too many, as a time of
// CLOCK_MONOTONIC; 0 if there never were.
func (g *Programs) EngagedUntil(k ServiceKey) (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, ok := g.find(k)
	if !ok {
		return 0, fmt.Errorf("%v: %w", k, ErrNoService)
	}
	var s guardServiceState
	if err := g.maps.ServiceStates.Lookup(i, &s); err != nil {
		return 0, fmt.Errorf("read state of %v: %w", k, err)
	}
	return time.Duration(s.EngagedUntil), nil
}
