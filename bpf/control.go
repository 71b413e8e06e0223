package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// mapMemory maps the maps that the daemon and the programs share.
func (g *Programs) mapMemory() error {
	control, err := g.mmap(g.maps.Controls, int(unsafe.Sizeof(guardControl{})))
	if err != nil {
		return err
	}
	credits, err := g.mmap(g.maps.Credits, MaxWorkers*int(unsafe.Sizeof(guardCredit{})))
	if err != nil {
		return err
	}
	pool, err := g.mmap(g.maps.Harvested, int(g.maps.Harvested.MaxEntries())*entrySize)
	if err != nil {
		return err
	}
	if g.addressMemory, err = g.mmap(g.maps.Addresses, int(g.maps.Addresses.MaxEntries())*int(unsafe.Sizeof(guardAddressBucket{}))); err != nil {
		return err
	}
	senders, err := g.mmap(g.maps.Senders, int(unsafe.Sizeof(guardSenderTable{})))
	if err != nil {
		return err
	}
	halfOpen, err := g.mmap(g.maps.HalfOpenBuckets, (halfOpenAll+1)*8)
	if err != nil {
		return err
	}
	g.halfOpen = unsafe.Slice((*uint64)(unsafe.Pointer(&halfOpen[0])), halfOpenAll+1)
	g.senders = (*guardSenderTable)(unsafe.Pointer(&senders[0]))
	g.poolMemory = pool[:int(g.maps.Harvested.MaxEntries())*entrySize] // without the rest of the last page
	g.control = (*guardControl)(unsafe.Pointer(&control[0]))
	g.credits = unsafe.Slice((*guardCredit)(unsafe.Pointer(&credits[0])), MaxWorkers)
	return nil
}

// unmapMemory undoes mapMemory.
func (g *Programs) unmapMemory() (errs []error) {
	g.beating.Lock()
	defer g.beating.Unlock()
	for _, m := range g.mapped {
		errs = append(errs, unix.Munmap(m))
	}
	g.mapped, g.control, g.credits, g.senders, g.poolMemory, g.addressMemory = nil, nil, nil, nil, nil, nil
	return errs
}

func (g *Programs) mmap(m *ebpf.Map, size int) ([]byte, error) {
	page := unix.Getpagesize()
	size = (size + page - 1) / page * page
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %v into memory: %w", m, err)
	}
	g.mapped = append(g.mapped, b)
	return b, nil
}

// ErrClosed is returned by methods of Programs after Close.
var ErrClosed = errors.New("BPF programs are closed")

// SetSecret puts a keyring in force; previous may be nil. The keyring goes to the idle element, then the index
// flips: a packet sees the old pair or the new one.
func (g *Programs) SetSecret(current, previous *cookie.Key) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	var ring guardKeyring
	set := func(inner, outer *[8]uint32, sip *[2]uint64, epoch, valid *uint32, k *cookie.Key) {
		*inner, *outer = k.Midstates()
		*sip = k.SipHash()
		*epoch, *valid = uint32(k.KeyID()), 1
	}
	c, p := &ring.Current, &ring.Previous
	set(&c.Inner, &c.Outer, &c.Sip, &c.Epoch, &c.Valid, current)
	if previous != nil {
		set(&p.Inner, &p.Outer, &p.Sip, &p.Epoch, &p.Valid, previous)
	}
	idle := 1 - atomic.LoadUint32(&g.control.Keyring)&1
	if err := g.maps.Keyrings.Put(idle, &ring); err != nil {
		return fmt.Errorf("write cookie secret to the kernel: %w", err)
	}
	var grace uint64
	if g.grace > 0 {
		grace = monotonic() + uint64(g.grace)
	}
	atomic.StoreUint64(&g.control.GraceUntil, grace)
	atomic.StoreUint32(&g.control.Keyring, idle)
	atomic.StoreUint32(&g.control.HasSecret, 1)
	return nil
}

// Policy has the settings of all services.
type Policy struct {
	Handshake      time.Duration // an idle half-open flow expires after it; 0: never
	IdleTimeout    time.Duration // an idle flow of any service expires after it; 0: never
	HeartbeatLimit time.Duration // the daemon is lost if it is silent for longer; 0: never
	HarvestGrace   time.Duration // after SetSecret the previous secret still selects harvested cookies; 0: until the next one
	SecretLifetime time.Duration // after the last heartbeat the kernel still answers; 0: for ever
	PassWhenLost   bool          // while the daemon is lost, ClientHellos pass; else they are dropped
	AnswerRate     Rate          // of the kernel's answers per CPU, all services together
	// HalfOpenPerSource bounds the unfinished handshakes of an IPv4 address or an IPv6 /64 with inline services; 0: no limit.
	// An IPv4 /24 and an IPv6 /48 have eight times as many, and all have eight times as many while less than half of the
	// half-open flows that there is room for are in use. It needs Handshake.
	HalfOpenPerSource int
}

// SetPolicy puts p in force.
func (g *Programs) SetPolicy(p Policy) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	var pass uint32
	if p.PassWhenLost {
		pass = 1
	}
	cost, full := p.AnswerRate.gcra()
	atomic.StoreUint64(&g.control.AnswerBurst, full)
	atomic.StoreUint64(&g.control.AnswerCost, cost)
	atomic.StoreUint64(&g.control.Handshake, uint64(p.Handshake))
	g.limitHalfOpen(&p)
	if atomic.SwapUint64(&g.control.Idle, uint64(p.IdleTimeout)) != uint64(p.IdleTimeout) {
		atomic.AddUint32(&g.control.Removals, 1) // flows that were seen a moment ago may be too old now
	}
	atomic.StoreUint64(&g.control.HeartbeatLimit, uint64(p.HeartbeatLimit))
	atomic.StoreUint32(&g.control.PassWhenLost, pass)
	g.grace = p.HarvestGrace
	g.beating.Lock()
	defer g.beating.Unlock()
	g.lifetime = p.SecretLifetime
	g.beat()
	return nil
}

// Heartbeat tells the programs that the daemon is alive. Call it several times per Policy.HeartbeatLimit; it makes no system
// call but the clock's, and does not wait for methods that do.
func (g *Programs) Heartbeat() {
	g.beating.Lock()
	defer g.beating.Unlock()
	if g.control != nil {
		g.beat()
	}
}

// beat needs g.beating.
func (g *Programs) beat() {
	now := monotonic()
	var until uint64
	if g.lifetime > 0 {
		until = now + uint64(g.lifetime)
	}
	atomic.StoreUint64(&g.control.SecretUntil, until)
	atomic.StoreUint64(&g.control.Heartbeat, now)
}

// monotonic is the clock that the programs read, in ns. Every kernel has it; if it failed, 0 would be a heartbeat long past,
// and the programs would treat the daemon as lost.
func monotonic() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return uint64(t.Nano())
}
