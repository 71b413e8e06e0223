package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// cpuQueue is the packets that may wait for a worker's CPU: four times the 512 frames of a usual RX ring, so
// that bursts fit; credit, not this queue, sheds what a worker cannot take.
const cpuQueue = 2048

// SetWorkers says on which CPU each worker runs, worker 0 first. A packet that arrives on a worker's CPU goes
// to that worker, any other is moved to the CPU of worker hash(flow) mod len(cpus); where packets must not be moved
// ([MovesPackets]), each CPU without a worker has one of another CPU.
func (g *Programs) SetWorkers(cpus []int, move bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	limit := int(g.maps.Cpus.MaxEntries())
	if len(cpus) > MaxWorkers {
		return fmt.Errorf("set workers: %d of them, want at most %d", len(cpus), MaxWorkers)
	}
	own := make([]uint32, maxCPUs)
	for w, cpu := range cpus {
		if cpu < 0 || cpu >= limit {
			return fmt.Errorf("set workers: worker %d on CPU %d, want 0 to %d", w, cpu, limit-1)
		}
		if own[cpu] == 0 {
			own[cpu] = uint32(w) + 1
		}
	}
	for cpu := range limit {
		if !move && own[cpu] == 0 && len(cpus) > 0 {
			own[cpu] = uint32(cpu%len(cpus)) + 1
		}
	}
	// No worker is picked by hash until all are in place.
	atomic.StoreUint32(&g.control.Workers, 0)
	for w, cpu := range cpus {
		for _, m := range []*ebpf.Map{g.maps.Cpus, g.fragsCPUs} {
			if err := m.Put(uint32(cpu), uint32(cpuQueue)); err != nil {
				return fmt.Errorf("set workers: make a queue to CPU %d: %w", cpu, err)
			}
		}
		if err := g.maps.WorkerCpus.Put(uint32(w), uint32(cpu)); err != nil {
			return fmt.Errorf("set workers: %w", err)
		}
	}
	for cpu := range limit {
		if err := g.maps.CpuWorkers.Put(uint32(cpu), own[cpu]); err != nil {
			return fmt.Errorf("set workers: %w", err)
		}
		for _, m := range []*ebpf.Map{g.maps.Cpus, g.fragsCPUs} {
			if own[cpu] != 0 {
				continue
			}
			if err := m.Delete(uint32(cpu)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("set workers: remove the queue to CPU %d: %w", cpu, err)
			}
		}
	}
	atomic.StoreUint32(&g.control.Workers, uint32(len(cpus)))
	return nil
}

// AddSocket gives worker its socket of service k: the kernel selects it for packets on the worker's CPU. The
// socket must be bound, with SO_REUSEPORT, to the service's port in a proxy, to the workers' port inline.
// Every socket of a group needs it; a closed one leaves by itself. On a port that several services share the
// kernel's own choice holds.
func (g *Programs) AddSocket(k ServiceKey, worker int, conn syscall.RawConn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, ok := g.find(k)
	if !ok {
		return fmt.Errorf("add socket of worker %d to %v: %w", worker, k, ErrNoService)
	}
	if worker < 0 || worker >= MaxWorkers {
		return fmt.Errorf("add socket of worker %d to %v: want 0 to %d", worker, k, MaxWorkers-1)
	}
	var err error
	if cerr := conn.Control(func(fd uintptr) {
		index := i*MaxWorkers + uint32(worker)
		err = g.maps.Sockets.Put(index, uint64(fd))
		if errors.Is(err, unix.EBUSY) && g.holds(index, int(fd)) {
			err = nil // pinned maps have it already: this process took the socket over
		}
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_EBPF, g.progs.SelectWorker.FD())
		}
	}); cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("add socket of worker %d to %v (is it bound, with SO_REUSEPORT?): %w", worker, k, err)
	}
	return nil
}

// holds reports whether an element of the sockets map is the socket of a file. The kernel names sockets by cookies.
func (g *Programs) holds(index uint32, fd int) bool {
	var has uint64
	if err := g.maps.Sockets.Lookup(index, &has); err != nil {
		return false
	}
	own, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	return err == nil && own == has
}

// Credit is what XDP may still give one worker number. With several services the workers of that number, one of
// each service, share it; its methods make no system call. It must not be used after Guard.Close.
type Credit struct{ c *guardCredit }

// Credit returns the credit of a worker, 0 at first.
func (g *Programs) Credit(worker int) Credit { return Credit{&g.credits[worker]} }

// Grant adds n ClientHellos, as many as the worker has just taken from its socket.
func (c Credit) Grant(n int) { atomic.AddUint64(&c.c.Granted, uint64(n)) }

// Refill makes the credit budget packets, whatever it was. A worker that finds its socket empty calls it, at
// the start and each time: packets that were lost on their way to it would be missing from its credit for ever.
func (c Credit) Refill(budget int) {
	atomic.StoreUint64(&c.c.Granted, atomic.LoadUint64(&c.c.Spent)+uint64(budget))
}

// Left is the credit in force; it may be below zero by the number of CPUs.
func (c Credit) Left() int64 {
	return int64(atomic.LoadUint64(&c.c.Granted) - atomic.LoadUint64(&c.c.Spent))
}
