// Command dtlsflood sends ClientHellos and other datagrams to a DTLS service of yours, as many as it can or as
// many as it is told, and counts and checks the answers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit statuses.
const (
	exitOK    = 0
	exitRun   = 1 // it did not go as asked: no answers, too slow, no privileges
	exitUsage = 2 // what was asked for makes no sense, or must not be done
)

// Main runs one command line until it is done or ctx ends, and returns the exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "dtlsflood: %v (see dtlsflood --help)\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "dtlsflood: %v\n", err)
	return exitRun
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// options are the flags.
type options struct {
	engine      string
	iface       string
	destination string
	port        uint16
	mac         string
	rate        float64
	duration    time.Duration
	sources     string
	kind        string
	hello       string
	cpu         int
	json        bool
	mine        bool

	target netip.AddrPort
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "dtlsflood -d ADDRESS [-p PORT] [flags]", Short: "Flood a DTLS service of your own, and check its answers",
		Long: `dtlsflood sends real ClientHellos, each from another source, to a service of your own, and
checks that the answers are HelloVerifyRequests to them.

  sendmmsg  from sockets, sources 127.0.0.0/8: no privileges, loopback only
  xdp       from the kernel, any sources: millions a second, needs root and -i`,
		Example: `  dtlsflood -d 127.0.0.1 -p 4433 -Q 100000
  dtlsflood --engine xdp -i veth0 -d 198.18.0.1 --duration 30s --json`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unexpected argument %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&o.engine, "engine", "", "sendmmsg or xdp (sendmmsg, and xdp with -i)")
	fl.StringVarP(&o.destination, "destination", "d", "", "the service's `ADDRESS`")
	fl.Uint16VarP(&o.port, "port", "p", 4433, "the service's UDP port")
	fl.StringVarP(&o.iface, "interface", "i", "", "xdp: interface to send from, which must be on the service's network")
	fl.StringVarP(&o.mac, "mac", "m", "", "xdp: the service's or the router's Ethernet address (its neighbour entry's)")
	fl.StringVar(&o.sources, "src-cidr", "", "xdp: source `PREFIX` (198.18.128.0/17, 2001:2:0:8000::/96)")
	fl.Float64VarP(&o.rate, "rate", "Q", 0, "datagrams a second (0: all that is possible)")
	fl.DurationVar(&o.duration, "duration", 10*time.Second, "how long")
	fl.StringVar(&o.kind, "kind", "hello", "what to send: hello, wrong-cookie, junk")
	fl.StringVar(&o.hello, "hello", "", "xdp: `FILE` with the ClientHello datagram to send, binary (openssl s_client's)")
	fl.IntVarP(&o.cpu, "cpu", "t", 0, "xdp: CPU to send on")
	fl.BoolVar(&o.json, "json", false, "a line of JSON each second")
	fl.BoolVar(&o.mine, "i-own-this-network", false, "send to an address that is neither loopback nor on the interface's network")
	return cmd
}
