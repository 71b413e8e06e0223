package frontend

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// service is one public address, its workers and the server behind it.
type service struct {
	config    *Config
	listen    netip.AddrPort   // the public address
	port      uint16           // its port
	inline    bool             // the server is on this host and keeps the address: workers only answer
	backend   *handoff.Backend // nil inline
	fit       handoff.Fit      // inline
	keys      *cookie.Store
	hellos    *limit.Hellos
	budget    *relay.Budget
	room      relay.Quota // what it has of upstream sockets
	upstreams *relay.Upstreams
	clock     func() int64 // nanoseconds since the server was made
	slots     bpf.Slots    // of its pool, where the programs can read them
	workers   []*worker
}

// Server is a guard.
type Server struct {
	config   Config
	secrets  *secrets
	kernel   *kernel // nil: no XDP
	services []*service
	started  time.Time
	budget   *relay.Budget
	ended    int // flows when it stopped
	running  sync.WaitGroup
	atWork   chan struct{} // closed when all workers are

	life   sync.RWMutex // held by who looks into what close gives back
	closed bool
}

// New opens all that a guard needs, and probes the back ends. What fails is said in one line that names the
// fix, and leaves nothing behind; errors.Is(err, hint.ErrUsage) tells a wrong configuration from bad luck.
func New(ctx context.Context, c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Server{config: c, started: time.Now(), atWork: make(chan struct{})}
	if err := s.openAll(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *Server) openAll(ctx context.Context) (err error) {
	if s.config.XDP.Interface != "" {
		if s.kernel, err = openKernel(&s.config); err != nil {
			return err
		}
	}
	if s.secrets, err = openSecrets(&s.config, s.kernel); err != nil {
		return err
	}
	s.budget = relay.NewBudget(s.config.limits())
	for _, sv := range s.config.Services {
		if err := s.openProxy(ctx, sv); err != nil {
			return err
		}
	}
	for _, a := range s.config.Protect {
		if err := s.openInline(ctx, a); err != nil {
			return err
		}
	}
	s.clampFlows()
	for _, v := range s.services {
		v.fitRoom()
	}
	if s.kernel != nil {
		return s.kernel.attach(s.services)
	}
	return nil
}

func (s *Server) newService(listen netip.AddrPort) *service {
	v := &service{
		config: &s.config, listen: listen, port: listen.Port(), keys: &s.secrets.store,
		hellos: limit.NewHellos(s.config.HelloRate, s.config.BackendHelloRate), budget: s.budget,
		clock: func() int64 { return int64(time.Since(s.started)) },
	}
	s.services = append(s.services, v)
	return v
}

// mode makes a worker's own hand-off.
func (v *service) mode(size int) handoff.Verifier {
	if v.inline {
		return handoff.NewInline(v.fit, v.listen, v.config.MAC, v.config.Cookies, size)
	}
	return v.backend.NewVerifier(size)
}

// kind is how clients are handed over at the moment.
func (v *service) kind() handoff.Mode {
	if v.inline {
		return v.fit.Mode
	}
	return v.backend.Mode()
}

// openProxy opens the sockets of a service, then its back end, then makes its workers.
func (s *Server) openProxy(ctx context.Context, sv Service) error {
	conns, err := listen(sv.Listen, &s.config)
	if err != nil {
		return err
	}
	v := s.newService(conns[0].Local())
	c := handoff.Config{Server: sv.Backend, Mode: s.config.Handoff, Pool: s.config.HarvestPool, MAC: s.config.MAC, Cookies: s.config.Cookies, Log: s.config.Log}
	if s.config.SecretFile != "" {
		c.Keys = s.secrets.store.Load
	}
	if s.kernel != nil {
		c.Table = func(size int) handoff.Table { return s.kernel.table(v, size) }
	}
	v.backend, err = handoff.Open(ctx, c)
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return err
	}
	v.upstreams = relay.NewUpstreams(sv.Backend)
	return s.employ(v, conns)
}

// openInline finds out how the server at address takes verified clients over, and makes workers on a port of
// their own, which XDP diverts ClientHellos to.
func (s *Server) openInline(ctx context.Context, address netip.AddrPort) error {
	v := s.newService(address)
	v.inline, v.fit.Mode = true, s.config.Handoff
	if k := v.fit.Mode; k == handoff.Auto || k.Native() {
		probe := address
		if probe.Addr().IsUnspecified() {
			probe = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), probe.Port())
		}
		var shared *cookie.Keyring
		if s.config.SecretFile != "" {
			shared = s.secrets.store.Load()
		}
		var err error
		if v.fit, err = handoff.ProbeInline(ctx, probe, k, shared); err != nil {
			return err
		}
	}
	if s.config.XDP.Answer == bpf.AnswerXDP {
		return nil
	}
	conns, err := listen(netip.AddrPortFrom(address.Addr(), 0), &s.config)
	if err != nil {
		return err
	}
	return s.employ(v, conns)
}

// employ makes a worker for each socket.
func (s *Server) employ(v *service, conns []*udpbatch.Conn) error {
	cpus := allowedCPUs()
	for i, c := range conns {
		cpu := -1
		if len(conns) <= len(cpus) {
			cpu = cpus[i]
		}
		w, err := newWorker(v, c, cpu)
		if err != nil {
			for _, c := range conns[i+1:] {
				c.Close()
			}
			return err
		}
		v.workers = append(v.workers, w)
	}
	return nil
}

// announce says what a service is made of. Not before all services stand: what cannot start says only why.
func (v *service) announce() {
	log := v.config.Log.With("listen", v.listen)
	if v.backend != nil {
		st := v.backend.Status()
		log.Info("serving", "backend", st.Server, "handoff", st.Handoff, "why", st.Why)
	} else {
		log.Info("serving", "handoff", v.fit.Mode.String())
	}
	if len(v.workers) == 0 {
		return
	}
	conn, asked := v.workers[0].conn, v.config.ReceiveBuffer
	receive, send := conn.Buffers()
	log.Info("listening", "socket", conn.Local(), "workers", len(v.workers), "receive_buffer", receive, "send_buffer", send)
	if receive < asked {
		log.Warn("kernel granted a smaller receive buffer than asked for", "asked", asked,
			"granted", receive, "hint", fmt.Sprintf("sysctl -w net.core.rmem_max=%d", asked))
	}
}

// listen opens a socket for each worker. The first is bound alone, so that a port in use is seen: a group with
// SO_REUSEPORT would let another program of this user in, and half the clients would be served by it. Then it opens
// the group itself: closed and bound again, it could find another guard on the port.
func listen(addr netip.AddrPort, c *Config) ([]*udpbatch.Conn, error) {
	options := udpbatch.Options{ReceiveBuffer: c.ReceiveBuffer, SendBuffer: c.ReceiveBuffer} // an answer for each question
	first, err := udpbatch.Listen(addr, options)
	if err != nil {
		return nil, err
	}
	conns := []*udpbatch.Conn{first}
	addr = netip.AddrPortFrom(addr.Addr(), first.Local().Port())
	options.ReusePort = true
	err = first.Share()
	for len(conns) < c.Workers && err == nil {
		var conn *udpbatch.Conn
		if conn, err = udpbatch.Listen(addr, options); err == nil {
			conns = append(conns, conn)
		}
	}
	if err != nil {
		for _, c := range conns {
			c.Close()
		}
		return nil, err
	}
	return conns, nil
}

func allowedCPUs() (cpus []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

// Run serves until ctx ends, then serves what has arrived, ends all flows and returns nil. It returns early
// with an error only if a worker cannot go on. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	var starting sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	failed := make(chan error, 1)
	preferSession(s.config.Nice, s.config.Log)
	for _, v := range s.services {
		v.announce()
		for _, w := range v.workers {
			starting.Add(1)
			s.running.Go(func() {
				w.settle()
				starting.Done()
				if err := w.run(stop); err != nil {
					select {
					case failed <- err:
					default:
					}
					cancel()
				}
			})
		}
		if v.backend != nil {
			s.running.Go(func() { v.backend.Run(ctx) })
		}
	}
	if s.kernel != nil {
		s.running.Go(func() { s.kernel.beat(ctx, s.services) })
	}
	s.running.Go(func() { s.secrets.run(ctx) })
	starting.Wait()
	close(s.atWork)
	<-ctx.Done()
	close(stop)
	for _, v := range s.services {
		for _, w := range v.workers {
			w.poller.Wake()
		}
	}
	s.running.Wait()
	s.ended = s.budget.Used()
	s.close()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// FlowsEnded is how many flows Run ended when it stopped.
func (s *Server) FlowsEnded() int { return s.ended }

// Started is closed once each worker of Run has its thread, on the CPU and with the priority that it keeps.
func (s *Server) Started() <-chan struct{} { return s.atWork }

func (s *Server) close() {
	s.life.Lock()
	defer s.life.Unlock()
	s.closed = true
	s.kernel.detach() // first: no ClientHello must come to a worker that is gone
	for _, v := range s.services {
		for _, w := range v.workers {
			w.kernel = nil // its flows end with the programs, or stay with them
			w.close()
		}
		if v.backend != nil {
			v.backend.Close()
		}
	}
	s.kernel.close() // last: the ports of pools are marked in its memory
}

// Reload reads the secret file again; an error is logged too, and leaves the old secret in force. Without a
// file there is nothing to do.
func (s *Server) Reload() error {
	if s.config.SecretFile == "" {
		return nil
	}
	return s.secrets.reload()
}

// Rotate draws a new secret now.
func (s *Server) Rotate() error { return s.secrets.rotate() }

// Ready is nil if clients can be served through every service.
func (s *Server) Ready() error {
	var errs []error
	for _, v := range s.services {
		if v.backend == nil {
			continue
		}
		if st := v.backend.Status(); !st.Ready {
			errs = append(errs, fmt.Errorf("back end %s: up %v, %d of %d cookies known", st.Server, st.Up, st.Known, st.Pool))
		}
	}
	return errors.Join(errs...)
}

// Listening returns the services' public addresses, with the ports that the kernel chose.
func (s *Server) Listening() []netip.AddrPort {
	var a []netip.AddrPort
	for _, v := range s.services {
		a = append(a, v.listen)
	}
	return a
}
