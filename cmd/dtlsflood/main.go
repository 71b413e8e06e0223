// Command dtlsflood sends ClientHellos and other datagrams to a DTLS service, at a given rate or as fast as possible, and
// counts and checks the answers.
package main

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/cmd/internal/version"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
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
	exitRun   = 1 // the run failed: no answers, too slow, no privileges
	exitUsage = 2 // invalid or forbidden flags
)

// Main runs one command line until it is done or ctx ends, and returns the exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	hint.Print(stderr, err, "see dtlsflood --help")
	if errors.Is(err, hint.ErrUsage) {
		return exitUsage
	}
	return exitRun
}

// options are the flags, by topic.
type options struct {
	engine  string
	target  target
	traffic content
	pace    pace
	report  reporting
	given   func(flag string) bool // on the command line
}

// target is the service and the path to it.
type target struct {
	text  string // -d
	port  uint16
	addr  netip.AddrPort // of both
	iface string
	mac   string
	mine  bool
}

// content is what is sent.
type content struct {
	text    string      // --mix
	file    string      // --hello
	own     [][]byte    // its contents
	mix     traffic.Mix // of all
	sources string
	ports   string
}

// pace has the flags of rate, duration and CPUs.
type pace struct {
	rate     float64
	duration time.Duration
	count    uint64
	threads  int
	cpu      int
	batch    uint32
	ndr      float64
	even     bool // without bursts, at the price of the rate
}

// reporting has the flags of output: sampled clients, the form of reports, a file instead of sending.
type reporting struct {
	sample   float64
	giveBack int
	json     bool
	file     string
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "dtlsflood -d ADDRESS [-p PORT] [flags]", Short: "Flood a DTLS service of your own, and check its answers",
		Long:          about + kinds() + replies,
		Example:       examples,
		Version:       version.Of().Version,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return hint.Usagef("unexpected argument %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.SetVersionTemplate(version.Line("dtlsflood") + "\n")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return hint.Usage(err) })
	o.given = cmd.Flags().Changed
	o.register(cmd.Flags())
	return cmd
}

// register adds the flags, in the order of the help.
func (o *options) register(fl *pflag.FlagSet) {
	fl.SortFlags = false
	fl.StringVar(&o.engine, "engine", "", "sendmmsg, xdp or pcap (sendmmsg, and xdp with -i)")
	fl.StringVarP(&o.target.text, "destination", "d", "", "the service's `ADDRESS`")
	fl.Uint16VarP(&o.target.port, "port", "p", 4433, "the service's UDP port")
	fl.StringVarP(&o.target.iface, "interface", "i", "", "`INTERFACE` to send frames from, which must be on the service's network")
	fl.StringVarP(&o.target.mac, "mac", "m", "", "with -i: the service's or the router's Ethernet `ADDRESS` (its neighbour entry's)")
	fl.StringVar(&o.traffic.sources, "src-cidr", "", "source `PREFIX` (198.18.128.0/17, 2001:2:0:8000::/96; without -i 127.64.0.0/10, ::1/128)")
	fl.Float64VarP(&o.pace.rate, "rate", "Q", 0, "datagrams per second (0: as fast as possible)")
	fl.DurationVar(&o.pace.duration, "duration", 10*time.Second, "how long")
	fl.StringVar(&o.traffic.ports, "src-ports", "", "source ports `FIRST-LAST` (16384-49151; without -i some free ones, at most 512)")
	fl.StringVar(&o.traffic.text, "mix", "hello", "what to send: `NAME=WEIGHT,...`, see above")
	fl.StringVar(&o.traffic.file, "hello", "", "`FILE` with the ClientHello to send: pcap or pcapng, binary, or in hex, one fragment per line")
	fl.IntVarP(&o.pace.threads, "threads", "t", 1, "xdp: CPUs to send on")
	fl.IntVarP(&o.pace.cpu, "affinity", "F", 0, "xdp: the first of these CPUs")
	fl.Uint64VarP(&o.pace.count, "count", "n", 0, "datagrams in all (0: until --duration is over; pcap: 10000)")
	fl.Uint32VarP(&o.pace.batch, "batch", "b", 0, "datagrams made at a time (xdp 128, sendmmsg 64, at most 256)")
	fl.StringVarP(&o.report.file, "write", "w", "", "pcap: `FILE` to write")
	fl.Float64Var(&o.pace.ndr, "ndr", 0, "search the highest rate at which at most this share of the questions, 0 to 1, is unanswered")
	fl.Float64Var(&o.report.sample, "sample", 100, "sampled clients per second, whose answers are timed and compared (0: none)")
	fl.IntVar(&o.report.giveBack, "return", 10, "one sampled client in `N` returns its cookie (0: none)")
	fl.BoolVar(&o.report.json, "json", false, "one JSON object per second, and a summary")
	fl.BoolVar(&o.target.mine, "i-own-this-network", false, "allow targets that are neither loopback nor on the interface's network, and sources of others")
}
