package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// clientPatience includes a client's retransmissions after 1, 3, 7 and 15 s (RFC 6347 section 4.2.4.1), and an
// answer to the last.
const clientPatience = 20 * time.Second

// handshake connects an s_client to addr, sends line, and receives it back from the server. It returns the
// time from the client's first ClientHello to the server's Finished.
func (o *openssl) handshake(ctx context.Context, addr netip.AddrPort, line string) (time.Duration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, clientPatience, fmt.Errorf("not finished within %v", clientPatience))
	defer cancel()
	// s_client writes a trace of its messages to the trace pipe, as file descriptor 3.
	trace, traceEnd, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("make a pipe for s_client: %w", err)
	}
	defer trace.Close()
	cmd, stderr := o.command(ctx, "s_client", "-dtls1_2", "-connect", addr.String(), "-quiet", "-no_ign_eof",
		"-CAfile", o.cert, "-verify_return_error", "-verify_quiet", "-msg", "-msgfile", "/dev/fd/3")
	cmd.ExtraFiles = []*os.File{traceEnd}
	runtime.LockOSThread() // see command
	defer runtime.UnlockOSThread()
	in, out, err := start(cmd)
	traceEnd.Close()
	if err != nil {
		return 0, fmt.Errorf("start s_client: %w", err)
	}
	timed := make(chan time.Duration, 1)
	go func() { timed <- readTrace(trace) }()
	err = echo(in, out, line)
	in.Close() // makes s_client send its closing alert
	if e := cmd.Wait(); err == nil && e != nil {
		err = fmt.Errorf("s_client: %w", e)
	}
	took := <-timed
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil:
		return 0, fmt.Errorf("%w: %s", err, complaint(stderr.String()))
	case took == 0:
		return 0, errors.New("s_client's trace shows no Finished")
	}
	return took, nil
}

func start(cmd *exec.Cmd) (in io.WriteCloser, out io.Reader, err error) {
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, err
	}
	return in, out, cmd.Start()
}

// echo sends a line and waits for its echo.
func echo(in io.Writer, out io.Reader, line string) error {
	if _, err := fmt.Fprintln(in, line); err != nil {
		return fmt.Errorf("send a line: %w", err)
	}
	back, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return errors.New("the line did not come back")
	}
	if back = strings.TrimSuffix(back, "\n"); back != line {
		return fmt.Errorf("%q came back as %q", line, back)
	}
	return nil
}

// readTrace reads s_client's -msg output to its end, and returns the time from the first message sent to the
// Finished received; 0 if there was none. A message is a line with >>> or <<<, then its bytes in hexadecimal.
func readTrace(r io.Reader) (took time.Duration) {
	const finished = "14 00 00 0c" // type 20 (RFC 5246 section 7.4), and 12 bytes of verify_data
	var began time.Time
	received := false
	for s := bufio.NewScanner(r); s.Scan(); {
		line := s.Text()
		switch {
		case strings.HasPrefix(line, ">>>"):
			received = false
			if began.IsZero() {
				began = time.Now()
			}
		case strings.HasPrefix(line, "<<<"):
			received = true
		case received && took == 0 && strings.HasPrefix(strings.TrimSpace(line), finished):
			took = time.Since(began)
		}
	}
	return took
}
