package scenario

import (
	"net/netip"
	"runtime"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

const (
	echoBatch  = 64
	echoBuffer = 4 << 20 // bytes, for what arrives while others use the CPU
)

// echo starts a server in a namespace, on the generator's CPU: it asks for a cookie, accepts any, and echoes everything else.
func (b *Testbed) echo(where *lab.Namespace, at netip.AddrPort) error {
	e := new(echoServer)
	if err := where.Do(func() error { return e.open(at) }); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with this function
		e.serve()
	}()
	b.Defer(func() error {
		e.poller.Wake()
		<-done
		return e.close()
	})
	return nil
}

type echoServer struct {
	conn   *udpbatch.Conn
	poller *udpbatch.Poller
	in     *udpbatch.Batch
	out    *udpbatch.Queue
}

func (e *echoServer) open(at netip.AddrPort) (err error) {
	if e.conn, err = udpbatch.Listen(at, udpbatch.Options{ReceiveBuffer: echoBuffer, SendBuffer: echoBuffer}); err != nil {
		return err
	}
	if e.poller, err = udpbatch.NewPoller(1); err != nil {
		e.conn.Close()
		return err
	}
	if err = e.poller.Add(e.conn.FD(), udpbatch.Event{}); err == nil {
		e.in, err = udpbatch.NewBatch(echoBatch)
	}
	if err != nil {
		e.poller.Close()
		e.conn.Close()
		return err
	}
	e.out = udpbatch.NewQueue(echoBatch)
	return nil
}

func (e *echoServer) close() error {
	e.poller.Close()
	e.conn.Close()
	return e.in.Close()
}

// serve runs until it is woken. What cannot be sent is lost, as on a wire.
func (e *echoServer) serve() {
	var any [cookie.Size]byte
	var h hello.ClientHello
	for {
		if _, woken, err := e.poller.Wait(-1); woken || err != nil {
			return
		}
		e.in.Reset()
		if _, err := e.conn.Recv(e.in); err != nil {
			continue
		}
		for i := range e.in.Len() {
			d := e.in.Datagram(i)
			if hello.Parse(d, &h) == hello.OK && len(h.Cookie) == 0 {
				d = d[:hello.PutHelloVerify(d, any[:])]
			}
			e.out.Add(d, e.in.Route(i))
		}
		_, _ = e.conn.Send(e.out)
	}
}
