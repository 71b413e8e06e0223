package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
)

// runFlags are the flags of run as they were given.
type runFlags struct {
	config            frontend.Config
	listen, backend   []string
	protect           []string
	handoff, cookies  string
	mac               string
	xdpMode, answer   string
	unverified        string
	unverifiedRate    float64
	answerRate        float64
	pass              []string
	onLoss            string
	engage            string
	metrics, control  string
	logFormat, logLvl string
	userName          string
	user              *privileges.User // to become; nil: none
}

func newRun() *cobra.Command {
	var f runFlags
	c := &f.config
	cmd := &cobra.Command{
		Use: "run", Short: "Stand in front of a DTLS server", Args: noArgs,
		Long: `run with --listen and --backend owns the public address and relays verified clients to the
server. It needs no privileges, or with --interface those of XDP, which then stands in front.

run with --protect and --interface leaves the server on this host its port: XDP lets verified
clients through to it, which it sees under their own addresses.

XDP needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root. All capabilities are dropped when all is open,
and the process becomes another user (--user).

SIGTERM and SIGINT serve what has arrived and exit 0; SIGHUP reads --secret-file again.`,
		Example: `  dtlsguard run --listen :4433 --backend 127.0.0.1:4434
  dtlsguard run --protect 192.0.2.7:4433 --interface eth0
  dtlsguard run --listen 192.0.2.7:5684 --backend 127.0.0.1:5685 --listen [2001:db8::7]:5684 --backend [::1]:5685`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := refuseWithoutXDP(cmd.Flags()); err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringArrayVar(&f.listen, "listen", nil, "public address `HOST:PORT`; :PORT is every address (repeat in pairs with --backend)")
	fl.StringArrayVar(&f.backend, "backend", nil, "the server's address `HOST:PORT`, or several: HOST:PORT*WEIGHT,...")
	fl.StringArrayVar(&f.protect, "protect", nil, "address `HOST:PORT` of a server on this host that keeps its port (repeatable)")
	fl.StringVar(&c.XDP.Interface, "interface", "", "where XDP is attached (none: sockets only)")
	fl.StringVar(&f.xdpMode, "xdp-mode", "auto", "auto, native, generic")
	fl.StringVar(&f.config.XDP.Chain, "xdp-chain", "", "pinned program array of a root XDP program on the interface that calls the guard: `MAP`")
	fl.StringVar(&f.answer, "answer", "auto", "who answers ClientHellos behind XDP: workers, xdp (in the kernel), auto")
	fl.StringVar(&f.unverified, "unverified", "", "with --protect: packets of unknown flows: drop, pass, limit (a proxy drops them)")
	fl.Float64Var(&f.unverifiedRate, "unverified-rate", 1000, "packets a second that limit lets through for a service")
	fl.StringSliceVar(&f.pass, "pass", nil, "with --protect: protocols that share the port and pass unguarded: stun, zrtp, turn, quic, rtp, capwap, anyconnect")
	fl.Float64Var(&f.answerRate, "answer-rate", 0, "XDP: answers of the kernel a second and CPU, of all services, to protect the uplink (0: no limit)")
	fl.StringVar(&f.onLoss, "on-daemon-loss", "drop", "XDP: ClientHellos that nobody answers, with this process dead: drop, pass")
	fl.BoolVar(&c.XDP.KeepAttached, "keep-attached", false, "XDP: stay in force after SIGTERM, for the next start (end it with unload)")
	fl.StringVar(&c.XDP.Pin, "pin", bpf.PinRoot, "XDP: directory on a bpffs where programs and flows outlive this process (off: they do not)")
	fl.BoolVar(&c.XDP.KeepNeighbours, "keep-neighbours", true, "XDP: keep routers reachable whose frames arrive, while a flood loses their ARP replies")
	fl.BoolVar(&c.Monitor, "monitor", false, "XDP: count verdicts, enforce nothing")
	fl.StringVar(&f.handoff, "handoff", "auto", "how verified clients reach the server: auto (probe), "+strings.Join(handoff.Names()[1:], ", "))
	fl.IntVar(&c.HarvestPool, "harvest-pool", 0, "harvest: cookies to ask the server for; a forged cookie passes with probability 1/N (0: 65536, or what fits the server)")
	fl.Float64Var(&c.HarvestRate, "harvest-rate", handoff.DefaultHarvestRate, "harvest: questions per second while cookies are asked for")
	fl.IntVar(&c.Workers, "workers", 0, "threads and sockets a service (0: one a CPU)")
	fl.IntVar(&c.Nice, "worker-nice", frontend.DefaultNice, "priority of the workers' threads, -20 to 19; below 0 needs CAP_SYS_NICE or LimitNICE=")
	fl.IntVar(&c.Batch, "batch", frontend.DefaultBatch, "datagrams a system call")
	fl.StringVar(&f.mac, "cookie-mac", cookie.HMACSHA256.String(), "of the guard's own cookies: hmac-sha256 (32 bytes), siphash (16 bytes, faster)")
	fl.StringVar(&f.cookies, "cookie-impl", cookie.Auto, "how workers compute cookies: auto (measure), "+strings.Join(cookie.Names(), ", "))
	fl.StringVar(&c.SecretFile, "secret-file", "", "cookie secrets, 64 hex digits a line, current first; read again on change")
	fl.DurationVar(&c.RotateEvery, "rotate-every", frontend.DefaultRotateEvery, "rotation of secrets of its own")
	fl.DurationVar(&c.ResolveEvery, "resolve-every", frontend.DefaultResolveEvery, "how often names of back ends are resolved")
	fl.IntVar(&c.MaxFlows, "max-flows", frontend.DefaultMaxFlows, "verified flows kept; a quarter may be half-open, and those go first")
	fl.IntVar(&c.FlowsPerSource, "flows-per-source", frontend.DefaultFlowsPerSource, "flows of one source, /32 or /64, once half of all are used; a /24 or /48 has 8 times that (0: no limit)")
	fl.IntVar(&c.HalfOpenPerSource, "half-open-per-source", frontend.DefaultHalfOpenPerSource, "... of those whose handshake is not finished")
	fl.DurationVar(&c.HandshakeTimeout, "handshake-timeout", frontend.DefaultHandshakeTimeout, "an unfinished handshake ends after this time without a message of it")
	fl.DurationVar(&c.IdleTimeout, "idle-timeout", frontend.DefaultIdleTimeout, "a silent flow ends after this")
	fl.Float64Var(&c.HelloRate.PerSecond, "hello-rate", frontend.DefaultHelloRate.PerSecond, "verified ClientHellos a second from one source, /32 or /64 (0: no limit)")
	fl.IntVar(&c.HelloRate.Burst, "hello-burst", frontend.DefaultHelloRate.Burst, "... and how many at once")
	fl.Float64Var(&c.BackendHelloRate.PerSecond, "backend-hello-rate", 0, "verified ClientHellos a second for one service (0: no limit)")
	fl.StringVar(&f.engage, "engage", "always", "reset: whom to challenge who has not proved the address: always (everybody), load (those above --engage-rate)")
	fl.Float64Var(&c.EngageRate, "engage-rate", frontend.DefaultEngageRate, "reset, limit: ClientHellos per second and service of addresses that have not proved themselves, a fifth for one /24 or /56")
	fl.DurationVar(&c.AddressLifetime, "address-lifetime", frontend.DefaultAddressLifetime, "reset, limit: how long a proved address is known after it was last seen")
	fl.StringVar(&c.AllowFile, "allow-file", "", "prefixes whose addresses count as proved, one per line; read again on change")
	fl.StringVar(&c.DenyFile, "deny-file", "", "prefixes that nothing is taken from, one per line; read again on change")
	fl.IntVar(&c.ReceiveBuffer, "receive-buffer", frontend.DefaultReceiveBuffer, "bytes of each worker's socket buffer, for either direction")
	fl.StringVar(&f.metrics, "metrics-listen", frontend.DefaultMetrics, "Prometheus /metrics, /healthz, /readyz (off: none)")
	fl.StringVar(&f.control, "control", defaultControl(), "unix socket for status and secret (off: none)")
	fl.StringVar(&f.userName, "user", "", "whom to become once all is open; root: stay root (default: "+privileges.DefaultUser+", if root starts this and there is such a user)")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
	fl.StringVar(&f.logLvl, "log-level", "info", "debug, info, warn, error")
	return cmd
}

func (f *runFlags) run(ctx context.Context, stderr io.Writer) error {
	if err := f.complete(ctx, stderr); err != nil {
		return err
	}
	hup := make(chan os.Signal, 1) // from now on, or a SIGHUP during the start would kill
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	// The doors first: what can be said at once is said before the back end is asked, which may take seconds.
	doors, err := f.openDoors()
	if err != nil {
		return err
	}
	defer doors.close()
	server, err := frontend.New(f.config)
	if err != nil {
		return err
	}
	doors.serve(server)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	<-server.Started() // a priority above the usual needs a capability
	if err := f.drop(server, doors); err != nil {
		if ctx.Err() != nil { // told to stop meanwhile: what it was to own is being removed
			return <-done
		}
		stop()
		return errors.Join(err, <-done)
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // no systemd is no error
	for {
		select {
		case <-hup:
			_ = server.Reload() // logged and counted; the old secret stays
		case err := <-done:
			_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
			f.config.Log.Info("stopped", "flows_ended", server.FlowsEnded())
			return err
		}
	}
}

// doors are those that are not off.
type doors struct{ metrics, control *frontend.AdminListener }

// openDoors takes the addresses of metrics and control; what comes to them waits until they serve.
func (f *runFlags) openDoors() (d doors, err error) {
	if f.metrics != "off" {
		if d.metrics, err = frontend.OpenMetrics(f.metrics); err != nil {
			return d, err
		}
	}
	if f.control != "off" {
		if d.control, err = frontend.OpenControl(f.control); err != nil {
			d.close()
			return d, err
		}
	}
	return d, nil
}

func (d doors) serve(server *frontend.Server) {
	if d.metrics != nil {
		d.metrics.Serve(server.MetricsHandler())
	}
	if d.control != nil {
		d.control.Serve(server.ControlHandler())
	}
}

func (d doors) close() {
	d.metrics.Close()
	d.control.Close()
}

// complete turns texts into values.
func (f *runFlags) complete(ctx context.Context, stderr io.Writer) (err error) {
	if f.config.Log, err = newLogger(stderr, f.logFormat, f.logLvl); err != nil {
		return err
	}
	if f.user, err = privileges.LookUp(f.userName); err != nil {
		return hint.Usagef("--user: %w", err)
	}
	if f.user != nil {
		f.config.XDP.Owner = f.user.UID
	}
	if f.config.Handoff, err = handoff.ParseMode(f.handoff); err != nil {
		return hint.Usagef("--handoff: %w", err)
	}
	if f.config.MAC, err = cookie.ParseMAC(f.mac); err != nil {
		return hint.Usagef("--cookie-mac: %w", err)
	}
	if f.config.Cookies, err = cookie.Select(f.cookies); err != nil {
		return hint.Usagef("--cookie-impl: %w", err)
	}
	if f.config.Engage, err = addresses.ParseEngage(f.engage); err != nil {
		return hint.Usagef("--engage: %w", err)
	}
	if err := f.completeXDP(); err != nil {
		return err
	}
	for _, text := range f.protect {
		addrs, err := parseAddresses(ctx, "--protect", text)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			f.config.Services = append(f.config.Services, frontend.Service{Listen: a})
		}
	}
	for _, n := range []*int{&f.config.FlowsPerSource, &f.config.HalfOpenPerSource} {
		if *n <= 0 {
			*n = -1
		}
	}
	if f.config.HelloRate.PerSecond <= 0 {
		f.config.HelloRate.PerSecond = -1
	}
	if len(f.listen) != len(f.backend) {
		return hint.Usagef("--listen is given %d times and --backend %d times: they go in pairs", len(f.listen), len(f.backend))
	}
	for i := range f.listen {
		addrs, err := parseAddresses(ctx, "--listen", f.listen[i])
		if err != nil {
			return err
		}
		backends, err := parseBackends(f.backend[i])
		if err != nil {
			return err
		}
		for _, a := range addrs {
			f.config.Services = append(f.config.Services, frontend.Service{Listen: a, Backends: backends})
		}
	}
	f.config.Shown = map[string]any{
		"listen": f.listen, "backend": f.backend, "protect": f.protect, "pass": f.pass,
		"metrics-listen": f.metrics, "control": f.control, "log-format": f.logFormat, "log-level": f.logLvl, "user": f.userName,
	}
	return nil
}

// parseBackends reads HOST:PORT, or several with commas between them, each with *WEIGHT if it is not 1. Names are
// resolved later.
func parseBackends(text string) (list []frontend.Backend, err error) {
	for part := range strings.SplitSeq(text, ",") {
		b := frontend.Backend{Address: strings.TrimSpace(part)}
		if address, weight, ok := strings.Cut(b.Address, "*"); ok {
			if b.Weight, err = strconv.Atoi(weight); err != nil || b.Weight == 0 {
				return nil, hint.Usagef("--backend %q: %q is not a weight", text, weight)
			}
			b.Address = address
		}
		host, port, err := splitAddress("--backend", b.Address)
		if err != nil {
			return nil, err
		}
		b.Address = net.JoinHostPort(host, strconv.Itoa(int(port)))
		list = append(list, b)
	}
	return list, nil
}

// splitAddress reads HOST:PORT, whose port may be the name of a service.
func splitAddress(flag, text string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, hint.Usagef("%s %q: want HOST:PORT, with an IPv6 address in [brackets]", flag, text)
	}
	n, err := net.LookupPort("udp", portText)
	if err != nil {
		return "", 0, hint.Usagef("%s %q: %q is not a port", flag, text, portText)
	}
	return host, uint16(n), nil
}

// parseAddresses reads HOST:PORT; an empty host is every address, IPv4 and IPv6, and a name all that it resolves to.
func parseAddresses(ctx context.Context, flag, text string) (list []netip.AddrPort, err error) {
	host, port, err := splitAddress(flag, text)
	if err != nil {
		return nil, err
	}
	if host == "" {
		return []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port)}, nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a, port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(ips) == 0 {
		return nil, fmt.Errorf("%s %q: %q is not an address and does not resolve: %w", flag, text, host, err)
	}
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return list, nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, hint.Usagef("--log-level %q: want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch strings.ToLower(format) {
	case "text":
		return slog.New(hint.Handler(slog.NewTextHandler(w, o))), nil
	case "json":
		return slog.New(hint.Handler(slog.NewJSONHandler(w, o))), nil
	}
	return nil, hint.Usagef("--log-format %q: want text or json", format)
}
