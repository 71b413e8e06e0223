// Command dtlsguard is a stateless DTLS handshake front-end: it answers every ClientHello without a cookie
// itself, and lets only clients that have proved their address reach the server.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/demo"
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
	exitRun   = 1 // what was asked for could not be done
	exitUsage = 2 // what was asked for makes no sense
)

// Main runs one command line until it is done or ctx ends, and returns the exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	out := &output{Writer: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = out.err // of a help text, which nobody looked at
	}
	if err == nil {
		return exitOK
	}
	hint.Print(stderr, err, "see "+command.CommandPath()+" --help")
	if errors.Is(err, hint.ErrUsage) {
		return exitUsage
	}
	return exitRun
}

// output remembers the first error of writing.
type output struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// fileOf returns the file that w writes to, nil if it is none.
func fileOf(w io.Writer) *os.File {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, _ := w.(*os.File)
	return f
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "dtlsguard",
		Short: "Stateless DTLS handshake front-end: a DoS shield for DTLS servers",
		Long: `dtlsguard protects unmodified DTLS servers. It answers every ClientHello without a cookie
with a HelloVerifyRequest, keeps no state for it, and lets only clients that have proved
their address reach the server.

Try it, with no privileges:     dtlsguard demo
Protect a server:               dtlsguard run --listen :4433 --backend 127.0.0.1:4434`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			return cmd.Help()
		},
		Args:    cobra.ArbitraryArgs,
		Version: version.Of().Version,

		SuggestionsMinimumDistance: 2,
	}
	root.SetVersionTemplate(version.Line("dtlsguard") + "\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return hint.Usage(err) })
	root.AddCommand(newRun(), newStatus(), newSecret(), newCheck(), newUnload(), newTop(), newConfig(), newReload(), newUpgrade(), newDrain(), newLaunch(), newFlows(), newCapture(), newEvents(), newRunner(), newAddresses(), newAllow(), newDeny(), demo.Command(), newVersion())
	return root
}

// unknown refuses a command that there is not, and names the one that is spelt nearly so.
func unknown(cmd *cobra.Command, name string) error {
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return hint.Usagef("there is no command %q: did you mean %s?", name, near[0])
	}
	return hint.Usagef("there is no command %q", name)
}

// noArgs refuses arguments as a mistake in usage.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return hint.Usagef("unexpected argument %q", args[0])
	}
	return nil
}
