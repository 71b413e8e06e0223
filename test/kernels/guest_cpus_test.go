package kernels

import (
	"fmt"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
)

// Fewer and more workers than CPUs, and fewer CPUs than the machine has. The default is one worker per CPU.
func TestGuestWorkers(t *testing.T) {
	guestOnly(t)
	const all = 0 // CPUs: those of the machine
	for _, c := range []struct{ workers, cpus int }{{1, all}, {2, all}, {5, all}, {0, 1}, {3, 1}} {
		t.Run(fmt.Sprintf("%d_on_%d", c.workers, c.cpus), func(t *testing.T) {
			l := newLab(t)
			s := shape{inline: true, xdp: true, args: []string{"--answer", "workers"}}
			want := c.workers
			if want == 0 {
				want = c.cpus
			} else {
				s.args = append(s.args, "--workers", fmt.Sprint(c.workers))
			}
			for _, a := range services {
				startServer(t, l.Middle, a)
			}
			g := runOn(t, l, c.cpus, s.arguments(secretFile(t))...)
			if n := g.status().Services[0].Workers; n != want {
				t.Errorf("%d workers, want %d", n, want)
			}
			client := connect(t, l, services[0])
			client.ping("from a worker")
			client.close()
			flood(t, l)
			if v := g.status().XDP.Verdicts; v["steered"] < floodSize {
				t.Errorf("want %d ClientHellos steered: %v", floodSize, v)
			}
			g.stop()
			g.gone()
		})
	}
}

// One CPU, on the oldest kernel.
func TestKernelOneCPU(t *testing.T) {
	k, err := emulator.Find(kernels(t)[0], emulator.Cloud)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, k, "^TestGuestWorkers$")
	m.CPUs = 1
	start(t, m)
}
