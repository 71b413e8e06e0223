package scenario

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

const (
	// ahead is the number of requests of a flow in flight at full load: all together half of
	// a veth's ring.
	ahead = 8
	// openTries are 100 ms apart: a question may be lost while ARP is in progress.
	openTries   = 30
	openPause   = 100 // ms
	stallPause  = 20  // ms without an echo after which everything in flight counts as lost
	recordRoom  = 1500
	recordStart = 13 // payload of a record
)

// flowClients are clients with established flows, served by one thread. Not safe for concurrent use.
type flowClients struct {
	conns  []*udpbatch.Conn
	poller *udpbatch.Poller
	in     *udpbatch.Batch
	out    *udpbatch.Queue
	timer  int // ticks when a request is due
	// A buffer per request that may be queued.
	records [ahead][recordRoom]byte
	began   time.Time
}

// timerEvent is the timer's event of the poller; those of conns are their indices.
const timerEvent = 1 << 20

// flowClients opens n flows from the client's namespace, each with a cookie exchange if asked for one.
func (b *Testbed) flowClients(n int) (*flowClients, error) {
	c := &flowClients{timer: -1, began: time.Now(), out: udpbatch.NewQueue(ahead)}
	b.Defer(c.close)
	err := b.Lab.Client.Do(func() (err error) {
		if c.poller, err = udpbatch.NewPoller(n + 1); err != nil {
			return err
		}
		if c.in, err = udpbatch.NewBatch(echoBatch); err != nil {
			return err
		}
		if c.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
			return fmt.Errorf("make timer: %w", err)
		}
		for i := range n {
			conn, err := udpbatch.Dial(b.Service)
			if err != nil {
				return err
			}
			c.conns = append(c.conns, conn)
			if err := c.poller.Add(conn.FD(), udpbatch.Event{A: int32(i)}); err != nil {
				return err
			}
			if err := c.establish(i); err != nil {
				return fmt.Errorf("open flow %d: %w", i+1, err)
			}
		}
		return c.poller.Add(c.timer, udpbatch.Event{A: timerEvent})
	})
	return c, err
}

func (c *flowClients) close() error {
	for _, conn := range c.conns {
		conn.Close()
	}
	if c.timer >= 0 {
		unix.Close(c.timer)
	}
	if c.in != nil {
		_ = c.in.Close() // memory only
	}
	if c.poller != nil {
		return c.poller.Close()
	}
	return nil
}

// establish does the cookie exchange and waits for the echo of a record of epoch 1.
func (c *flowClients) establish(i int) error {
	question := hellotest.New()
	binary.NativeEndian.PutUint64(question.Random[:], uint64(time.Since(c.began))|uint64(i)<<56)
	send := question.Bytes()
	for range openTries {
		c.out.Add(send, nil)
		if _, err := c.conns[i].Send(c.out); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		if _, _, err := c.poller.Wait(openPause); err != nil {
			return err
		}
		c.in.Reset()
		if _, err := c.conns[i].Recv(c.in); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		for k := range c.in.Len() {
			const handshake, helloVerify, typeAt, cookieAt = 22, 3, 13, 27
			switch d := c.in.Datagram(k); {
			case d[0] != handshake:
				return nil
			case d[typeAt] == helloVerify && len(question.Cookie) == 0:
				question.Cookie = append(question.Cookie, d[cookieAt+1:cookieAt+1+int(d[cookieAt])]...)
				question.MessageSeq, question.RecordSeq = 1, 1
				send = question.Bytes()
			case d[typeAt] != helloVerify: // from the server: the flow exists
				send = c.record(0, len(send))
			}
		}
	}
	return fmt.Errorf("no answer after %v", openTries*openPause*time.Millisecond)
}

// record writes a request into buffer k: a record of application data with the time at its beginning.
func (c *flowClients) record(k, size int) []byte {
	r := c.records[k][:size]
	copy(r, []byte{23, 0xfe, 0xfd, 0, 1}) // application data, DTLS 1.2, epoch 1
	binary.BigEndian.PutUint16(r[recordStart-2:], uint16(size-recordStart))
	binary.NativeEndian.PutUint64(r[recordStart:], uint64(time.Since(c.began)))
	return r
}

// saturate keeps as many requests as allowed in flight for a window, and counts echoes.
func (c *flowClients) saturate(size int, window time.Duration) (echoes int, err error) {
	err = onOneThread(func() error {
		if err := c.fill(size); err != nil {
			return err
		}
		for end := time.Now().Add(window); time.Now().Before(end); {
			n, _, err := c.poller.Wait(stallPause)
			if err != nil {
				return err
			}
			if n == 0 {
				if err := c.fill(size); err != nil {
					return err
				}
			}
			for k := range n {
				i := int(c.poller.Event(k).A)
				if i == timerEvent {
					continue
				}
				c.in.Reset()
				got, err := c.conns[i].Recv(c.in)
				if err != nil {
					return err
				}
				echoes += got
				if err := c.send(i, min(got, ahead), size); err != nil {
					return err
				}
			}
		}
		return c.drain()
	})
	return echoes, err
}

// fill sends requests on each flow up to the limit.
func (c *flowClients) fill(size int) error {
	for i := range c.conns {
		if err := c.send(i, ahead, size); err != nil {
			return err
		}
	}
	return nil
}

// send sends n requests on flow i. What a full socket rejects is lost.
func (c *flowClients) send(i, n, size int) error {
	for k := range n {
		c.out.Add(c.record(k, size), nil)
	}
	if _, err := c.conns[i].Send(c.out); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	return nil
}

// drain receives what is still in flight, until nothing comes.
func (c *flowClients) drain() error {
	for {
		n, _, err := c.poller.Wait(stallPause)
		if n == 0 || err != nil {
			return err
		}
		for k := range n {
			if i := int(c.poller.Event(k).A); i != timerEvent {
				c.in.Reset()
				if _, err := c.conns[i].Recv(c.in); err != nil {
					return err
				}
			}
		}
	}
}

// onOneThread runs f on a thread of its own.
func onOneThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- f()
	}()
	return <-done
}
