package xdp

import (
	"context"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// call sends from a thread of its own. The thread keeps the namespace and the CPU, so it is never unlocked and ends with
// the goroutine.
func (g *Generator) call(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		ended <- g.send(ctx)
	}()
	return <-ended
}

func (g *Generator) send(ctx context.Context) error {
	if err := unix.Setns(g.ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("generator: enter network namespace: %w", err)
	}
	var cpus unix.CPUSet
	cpus.Set(g.options.CPU)
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("generator: run on CPU %d: %w", g.options.CPU, err)
	}
	if g.options.Carry {
		a := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		if err := unix.SchedSetAttr(0, &a, 0); err != nil {
			return fmt.Errorf("generator: lower the priority: %w", err)
		}
	}
	for ctx.Err() == nil {
		o := ebpf.RunOptions{Data: g.input, Repeat: repeat, BatchSize: g.options.Batch, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}
		if _, err := g.objects.Flood.Run(&o); err != nil {
			return fmt.Errorf("generator: run BPF program with live frames (since Linux 5.18): %w", err)
		}
	}
	return nil
}
