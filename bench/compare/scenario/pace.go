package scenario

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// pace sends requests at a rate for a window, one flow after another, and returns the time in us that each
// echo took, and the share that did not come. The time of a late echo counts from its request.
func (c *flowClients) pace(size int, rate float64, window time.Duration) (latencies []float64, lost float64, err error) {
	latencies = make([]float64, 0, int(rate*window.Seconds())+1)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would run on this CPU
	sent := 0
	err = onOneThread(func() error {
		if err := c.tick(time.Duration(float64(time.Second) / rate)); err != nil {
			return err
		}
		for end := time.Now().Add(window); time.Now().Before(end); {
			if latencies, err = c.step(size, &sent, cap(latencies), latencies); err != nil {
				return err
			}
		}
		if err := c.tick(0); err != nil {
			return err
		}
		// The last echoes may take a while.
		for end := time.Now().Add(5 * stallPause * time.Millisecond); time.Now().Before(end) && len(latencies) < sent; {
			if latencies, err = c.step(size, &sent, sent, latencies); err != nil {
				return err
			}
		}
		return nil
	})
	if sent > 0 {
		lost = max(0, 1-float64(len(latencies))/float64(sent))
	}
	return latencies, lost, err
}

// step waits for the next event: the time of a request, up to most of them, or echoes.
func (c *flowClients) step(size int, sent *int, most int, latencies []float64) ([]float64, error) {
	n, _, err := c.poller.Wait(stallPause)
	if err != nil {
		return latencies, err
	}
	for k := range n {
		i := int(c.poller.Event(k).A)
		if i != timerEvent {
			c.in.Reset()
			if _, err := c.conns[i].Recv(c.in); err != nil {
				return latencies, err
			}
			now := time.Since(c.began)
			for j := range c.in.Len() {
				if d := c.in.Datagram(j); len(d) == size && len(latencies) < cap(latencies) {
					took := now - time.Duration(binary.NativeEndian.Uint64(d[recordStart:]))
					latencies = append(latencies, float64(took)/float64(time.Microsecond))
				}
			}
			continue
		}
		for due := c.ticks(); due > 0 && *sent < most; due-- {
			if err := c.send(*sent%len(c.conns), 1, size); err != nil {
				return latencies, err
			}
			*sent++
		}
	}
	return latencies, nil
}

// tick sets the timer; 0 stops it.
func (c *flowClients) tick(every time.Duration) error {
	t := unix.NsecToTimespec(int64(every))
	if err := unix.TimerfdSettime(c.timer, 0, &unix.ItimerSpec{Interval: t, Value: t}, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}

// ticks returns the ticks since the last call.
func (c *flowClients) ticks() uint64 {
	var b [8]byte
	if n, err := unix.Read(c.timer, b[:]); err != nil || n != len(b) {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}
