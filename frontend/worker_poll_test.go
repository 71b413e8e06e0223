package frontend

import (
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// During a flood a worker's socket is not in its poller, and afterwards it is again.
func TestWorkerPollsDuringFlood(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	q := udpbatch.NewQueue(1)
	arrived := func(wait time.Duration) bool {
		q.Add([]byte{0}, nil)
		if _, err := client.Send(q); err != nil {
			t.Fatal(err)
		}
		n, _, err := w.poller.Wait(int(wait.Milliseconds()))
		if err != nil {
			t.Fatal(err)
		}
		return n == 1 && w.poller.Event(0).A == listenToken
	}
	for _, step := range []struct {
		strangers uint64
		backlog   bool
		polling   bool
	}{
		{pollFrom - 1, false, false}, {pollFrom, false, true}, {pollFrom, false, true}, {pollUntil, false, true},
		{pollUntil - 1, true, true}, // more is there
		{pollUntil - 1, false, false}, {0, false, false}, {pollFrom, false, true}, {0, false, false},
	} {
		w.backlog = step.backlog
		w.poll(step.strangers)
		wait := time.Minute
		if step.polling {
			wait = 0 // nothing is to come
		}
		if w.polling != step.polling || arrived(wait) == step.polling {
			t.Errorf("%+v: polling is %v", step, w.polling)
		}
	}
}

// Datagrams of flows would wait for the pause, so they do not count.
func TestDatagramsOfFlowsAreNotStrangers(t *testing.T) {
	var c metrics.Counters
	c.Filled(3)
	c.Count(metrics.Relayed)
	if n := c.Strangers(); n != 2 {
		t.Errorf("%d strangers among 3 datagrams, one of them of a flow", n)
	}
}

func TestPollingDoesNotAllocate(t *testing.T) {
	w, _ := bareWorker(t, 64, modes["trust"])
	if n := testing.AllocsPerRun(20, func() {
		w.poll(pollFrom)
		if _, _, err := w.wait(); err != nil {
			t.Fatal(err)
		}
		w.fromClients()
		w.poll(0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A worker that goes from waiting to polling and back answers everything, serves requests, and stops when it is told to.
func TestWorkerServesWhilePolling(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	stop, ended := make(chan struct{}), make(chan error, 1)
	w.service.stop = stop
	go func() { ended <- w.run(stop) }()
	d := hellotest.New().Bytes()
	in, err := udpbatch.NewBatch(64)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	q := udpbatch.NewQueue(64)
	const bursts, size = 20, 60
	for i := range bursts {
		n := size
		if i%4 == 3 { // a lone one, after which the worker waits
			n = 1
		}
		for range n {
			q.Add(d, nil)
		}
		if sent, err := client.Send(q); sent != n || err != nil {
			t.Fatal(sent, err)
		}
		in.Reset()
		for end := time.Now().Add(10 * time.Second); in.Len() < n; time.Sleep(10 * time.Microsecond) {
			if _, err := client.Recv(in); err != nil || time.Now().After(end) {
				t.Fatalf("burst %d: %d answers to %d ClientHellos, %v", i, in.Len(), n, err)
			}
		}
		if err := w.ask(t.Context(), func() {}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	w.poller.Wake()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
