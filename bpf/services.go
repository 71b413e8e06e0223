package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// Numbers of consts.h that need no name outside.
const (
	flagMonitor = 1 << 0
	flagProxy   = 1 << 1
	flagHellos  = 1 << 2

	flagInterfaces = 1 << 3
	flagAssign     = 1 << 4
	flagDropsJunk  = 1 << 5

	anyIPv4    = 1 << 0
	anyIPv6    = 1 << 1
	sharedPort = 0xffffffff
)

var native = binary.NativeEndian

// service is an element of the services map.
type service struct {
	key     ServiceKey
	workers uint16 // port
	id      uint32
	ifaces  []string // that it is guarded on; none: all
	proxy   bool
	monitor bool
	used    bool
	counted bool     // has been in use, so its counters are part of the sum
	base    Counters // what an earlier service of the element had counted
}

// MaxServiceInterfaces is how many interfaces a service can name.
const MaxServiceInterfaces = len(guardService{}.Interfaces)

// indexes are those of interfaces of this network namespace, 0 for one that is not there.
func indexes(names []string) (list [MaxServiceInterfaces]uint32) {
	for i, name := range names {
		if dev, err := net.InterfaceByName(name); err == nil {
			list[i] = uint32(dev.Index)
		}
	}
	return list
}

// pointServices tells the services that name an interface which index it has now.
func (g *Programs) pointServices(iface string, index int) error {
	for i := range g.services {
		at := slices.Index(g.services[i].ifaces, iface)
		if !g.services[i].used || at < 0 {
			continue
		}
		var e guardService
		if err := g.maps.Services.Lookup(uint32(i), &e); err != nil {
			return fmt.Errorf("read service %v: %w", g.services[i].key, err)
		}
		if e.Interfaces[at] == uint32(index) {
			continue
		}
		e.Interfaces[at] = uint32(index)
		if err := g.maps.Services.Put(uint32(i), &e); err != nil {
			return fmt.Errorf("write service %v: %w", g.services[i].key, err)
		}
	}
	return nil
}

// words is an address as the programs compare it.
func words(a netip.Addr) (w [4]uint32) {
	b := a.As16()
	for i := range w {
		w[i] = native.Uint32(b[4*i:])
	}
	return w
}

// addr undoes words.
func addr(w [4]uint32) netip.Addr {
	var b [16]byte
	for i := range w {
		native.PutUint32(b[4*i:], w[i])
	}
	return netip.AddrFrom16(b).Unmap()
}

// indexKeys are the addresses under which a service is found on a shared port.
func (k ServiceKey) indexKeys() []netip.Addr {
	if k.Address.IsValid() {
		return []netip.Addr{k.Address}
	}
	return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
}

func (g *Programs) find(k ServiceKey) (uint32, bool) {
	for i := range g.services {
		if g.services[i].used && g.services[i].key == k {
			return uint32(i), true
		}
	}
	return 0, false
}

// SetService adds a service, or changes the one with the same address and port; its flows stay.
func (g *Programs) SetService(s Service) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := s.check(); err != nil {
		return fmt.Errorf("protect %v: %w", s.ServiceKey, err)
	}
	if err := g.setService(&s); err != nil {
		return fmt.Errorf("protect %v: %w", s.ServiceKey, err)
	}
	return nil
}

func (g *Programs) setService(s *Service) error {
	if g.control == nil {
		return ErrClosed
	}
	if err := g.conflict(s); err != nil {
		return err
	}
	i, ok := g.find(s.ServiceKey)
	if !ok {
		for i = 0; int(i) < len(g.services) && g.services[i].used; i++ {
		}
		if int(i) == len(g.services) {
			return fmt.Errorf("%w: it holds %d", ErrServicesFull, len(g.services))
		}
	}
	old := g.services[i]
	now := service{key: s.ServiceKey, workers: s.WorkersPort, id: old.id, proxy: s.Proxy, monitor: s.Monitor, ifaces: slices.Clone(s.Interfaces), used: true, counted: true, base: old.base}
	if !ok {
		if old.counted {
			now.base = Counters{}
			if err := g.addCounters(&now.base, i); err != nil {
				return err
			}
		}
		now.id = g.nextID
		g.nextID++
	}
	if err := g.maps.Services.Put(i, new(s.encode(now.id))); err != nil {
		return err
	}
	g.services[i] = now
	for _, a := range s.indexKeys() {
		key := guardServiceKey{Addr: words(a), Port: uint32(s.Port)}
		if err := g.maps.ServiceIndex.Put(&key, i); err != nil {
			return errors.Join(err, g.remove(i))
		}
	}
	err := errors.Join(g.markAddresses(s.ServiceKey), g.setPort(s.Port))
	if old.used && old.workers != 0 && old.workers != s.WorkersPort {
		err = errors.Join(err, g.setPort(old.workers))
	}
	if s.WorkersPort != 0 {
		err = errors.Join(err, g.setPort(s.WorkersPort))
	}
	return err
}

// conflict finds another service that claims a port of s.
func (g *Programs) conflict(s *Service) error {
	for i := range g.services {
		o := &g.services[i]
		switch {
		case !o.used || o.key == s.ServiceKey:
			continue
		case o.workers == s.Port:
			return fmt.Errorf("%w: workers of %v listen on %d", ErrPortTaken, o.key, s.Port)
		case s.WorkersPort != 0 && o.workers == s.WorkersPort:
			return fmt.Errorf("%w: workers of %v listen on %d; give each service its own workers' port", ErrPortTaken, o.key, s.WorkersPort)
		case s.WorkersPort == o.key.Port:
			return fmt.Errorf("%w: %d is the port of %v", ErrPortTaken, s.WorkersPort, o.key)
		}
		if o.key.Port != s.Port {
			continue
		}
		for _, a := range s.indexKeys() {
			for _, b := range o.key.indexKeys() {
				if a == b {
					return fmt.Errorf("%w: %v covers it", ErrPortTaken, o.key)
				}
			}
		}
	}
	return nil
}

// setPort writes what a port is used for, from the services.
func (g *Programs) setPort(port uint16) error {
	var use guardPortUse
	for i := range g.services {
		s := &g.services[i]
		switch {
		case !s.used:
		case s.workers == port:
			use.WorkersOf = uint32(i) + 1
		case s.key.Port == port && use.Service != 0:
			use.Service = sharedPort
		case s.key.Port == port:
			use.Service = uint32(i) + 1
		}
	}
	return g.maps.Ports.Put(uint32(port), &use)
}

// markAddresses makes the port-less entries for the addresses of k.
func (g *Programs) markAddresses(k ServiceKey) error {
	var errs []error
	for _, a := range k.indexKeys() {
		errs = append(errs, g.maps.ServiceIndex.Put(&guardServiceKey{Addr: words(a)}, uint32(0)))
	}
	return errors.Join(errs...)
}

// unmarkAddresses removes those that no service has any more.
func (g *Programs) unmarkAddresses(k ServiceKey) error {
	used := make(map[netip.Addr]bool)
	for i := range g.services {
		if g.services[i].used {
			for _, a := range g.services[i].key.indexKeys() {
				used[a] = true
			}
		}
	}
	var errs []error
	for _, a := range k.indexKeys() {
		if used[a] {
			continue
		}
		if err := g.maps.ServiceIndex.Delete(&guardServiceKey{Addr: words(a)}); !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// DeleteService ends the protection of a service: its packets pass untouched from now on.
func (g *Programs) DeleteService(k ServiceKey) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, ok := g.find(k)
	if !ok {
		return fmt.Errorf("unprotect %v: %w", k, ErrNoService)
	}
	if err := g.remove(i); err != nil {
		return fmt.Errorf("unprotect %v: %w", k, err)
	}
	return nil
}

func (g *Programs) remove(i uint32) error {
	s := g.services[i]
	g.services[i] = service{counted: true}
	errs := []error{g.setPort(s.key.Port)}
	if s.workers != 0 {
		errs = append(errs, g.setPort(s.workers))
	}
	for _, a := range s.key.indexKeys() {
		err := g.maps.ServiceIndex.Delete(&guardServiceKey{Addr: words(a), Port: uint32(s.key.Port)})
		if !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, err)
		}
	}
	// The id of an empty element stays, so that no later service is given it.
	errs = append(errs, g.unmarkAddresses(s.key), g.maps.Services.Put(i, &guardService{Id: s.id}))
	return errors.Join(errs...)
}

// Services lists the services in force: after an adoption those of the process before.
func (g *Programs) Services() []ServiceKey {
	g.mu.Lock()
	defer g.mu.Unlock()
	var keys []ServiceKey
	for i := range g.services {
		if g.services[i].used {
			keys = append(keys, g.services[i].key)
		}
	}
	return keys
}

// readServices fills g.services from adopted maps.
func (g *Programs) readServices() error {
	for i := range g.services {
		var e guardService
		if err := g.maps.Services.Lookup(uint32(i), &e); err != nil {
			return fmt.Errorf("read services: %w", err)
		}
		g.nextID = max(g.nextID, e.Id+1)
		s := service{id: e.Id, counted: e.Id != 0}
		if e.Port != 0 {
			s.used, s.workers, s.key = true, e.WorkersPort, ServiceKey{Port: e.Port}
			s.monitor = e.Flags&flagMonitor != 0
			switch e.Any {
			case 0:
				s.key.Address = addr(e.Addr)
			case anyIPv4:
				s.key.Address = netip.IPv4Unspecified()
			case anyIPv6:
				s.key.Address = netip.IPv6Unspecified()
			}
		}
		g.services[i] = s
	}
	return nil
}
