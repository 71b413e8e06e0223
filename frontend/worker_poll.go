package frontend

import (
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// A socket in an epoll set costs the kernel a wake-up call for each datagram that arrives and for each that has left, whether
// or not anybody waits: a twentieth of what an answer takes. So during a flood a worker looks at its socket by the clock.
const (
	// pollPause is how long a worker sleeps when its socket is empty. The kernel adds its timer slack of 50 us
	// (PR_SET_TIMERSLACK, prctl(2)): 100 us are short beside a handshake, and 50 datagrams at the rate that a worker can answer.
	pollPause = 50 * time.Microsecond
	// pollFrom is how many datagrams of strangers in one go begin it: fewer come together when a worker keeps up easily.
	pollFrom = 16
	// pollUntil is how few in a pause end it. On loopback, with 10 per pause (100 000 per second), an answer took a tenth more of the
	// CPU than by epoll; with some 18, when the worker was busy throughout, a tenth less.
	pollUntil = 10
)

// wait returns the events that there are, after as long as it may take.
func (w *worker) wait() (n int, woken bool, err error) {
	switch {
	case !w.polling:
		return w.poller.Wait(int(sweepEvery.Milliseconds()))
	case w.backlog:
		return w.poller.Poll(0)
	}
	return w.poller.Poll(pollPause)
}

// poll begins or ends polling, by how many datagrams of strangers the last round brought. Those of flows do not count: they would
// wait for the pause.
func (w *worker) poll(strangers uint64) {
	switch {
	case !w.polling && strangers >= pollFrom:
		w.poller.Remove(w.socket.FD())
		w.polling = true
	case w.polling && strangers < pollUntil && !w.backlog:
		// If it fails there is no memory for it, and the next round tries again.
		w.polling = w.poller.Add(w.socket.FD(), udpbatch.Event{A: listenToken}) != nil
	}
}
