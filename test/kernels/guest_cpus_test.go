package kernels

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
)

// With one CPU, the shapes in which a worker's socket is alone in its group; with two, fewer and more workers than CPUs.
func TestGuestWorkers(t *testing.T) {
	guestOnly(t)
	for _, workers := range []string{"1", "2", "5"} {
		t.Run(workers, func(t *testing.T) {
			t.Logf("%d CPUs", runtime.NumCPU())
			l := newLab(t)
			s := shape{inline: true, xdp: true, args: []string{"--answer", "workers", "--workers", workers}}
			for _, a := range services {
				startServer(t, l.Middle, a)
			}
			g := run(t, l, s.arguments(secretFile(t))...)
			c := connect(t, l, services[0])
			c.ping(fmt.Sprintf("of %s workers", workers))
			c.close()
			flood(t, l)
			if v := g.status().XDP.Verdicts; v["steered"] < floodSize {
				t.Errorf("want %d ClientHellos steered: %v", floodSize, v)
			}
			g.stop()
			g.gone()
		})
	}
}

// One CPU, on the oldest of the kernels.
func TestKernelOneCPU(t *testing.T) {
	k, err := emulator.Find(kernels(t)[0], emulator.Cloud)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, k)
	m.CPUs = 1
	m.Run = []string{"/bin/kernels.test", "-test.v", "-test.run", "^TestGuestWorkers$"}
	start(t, m)
}
