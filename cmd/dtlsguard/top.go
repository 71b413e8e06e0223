package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func newTop() *cobra.Command {
	var control string
	var once bool
	cmd := &cobra.Command{
		Use: "top", Short: "Watch the running guard, second by second", Args: noArgs,
		Long: `top shows rates per second: the last minute, and what became of datagrams by service and reason, sources of most of
what nobody has verified, handshakes, flows, CPU. q quits; --once prints one frame and needs no terminal.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t := &top{control: control, out: cmd.OutOrStdout()}
			if once {
				return t.once(cmd.Context())
			}
			return t.live(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&control, "control", defaultAsk(), "the guard's unix socket")
	cmd.Flags().BoolVar(&once, "once", false, "print one frame, of the next second")
	return cmd
}

// interval is the time over which a frame's rates are averaged.
const interval = time.Second

// top shows the differences between two samples of a guard.
type top struct {
	control string
	out     io.Writer
	last    sample
	history history
}

func (t *top) look(ctx context.Context) (sample, error) {
	s, err := askStatus(ctx, t.control)
	if err != nil {
		return sample{}, err
	}
	return sample{Status: *s, at: time.Now(), cpus: readCPUs()}, nil
}

// frame waits for the next interval and draws it.
func (t *top) frame(ctx context.Context, width, height int) ([]byte, error) {
	if t.last.at.IsZero() {
		var err error
		if t.last, err = t.look(ctx); err != nil {
			return nil, err
		}
	}
	select {
	case <-ctx.Done():
		return nil, nil
	case <-time.After(time.Until(t.last.at.Add(interval))):
	}
	now, err := t.look(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	t.history.add(&t.last, &now)
	draw(&b, &t.last, &now, &t.history)
	t.last = now
	return fit(b.Bytes(), width, height), nil
}

func (t *top) once(ctx context.Context) error {
	b, err := t.frame(ctx, 0, 0)
	if err != nil {
		return err
	}
	_, err = t.out.Write(b)
	return err
}

// live draws until q, Ctrl-C or the guard's end, and then restores the terminal.
func (t *top) live(ctx context.Context) error {
	in, out := int(os.Stdin.Fd()), int(os.Stdout.Fd())
	if !term.IsTerminal(in) || !term.IsTerminal(out) {
		return hint.Usagef("top needs a terminal; use --once, or status --json for programs")
	}
	old, err := term.MakeRaw(in)
	if err != nil {
		return fmt.Errorf("take the terminal: %w", err)
	}
	const alternate, normal = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l" // screen without a cursor, and back
	fmt.Fprint(t.out, alternate)
	defer func() {
		fmt.Fprint(t.out, normal)
		_ = term.Restore(in, old)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go quitKeys(cancel)
	for {
		// Read for each frame, so that a resized terminal is followed within an interval.
		width, height, err := term.GetSize(out)
		if err != nil {
			width, height = 80, 24
		}
		b, err := t.frame(ctx, width, height)
		if err != nil || ctx.Err() != nil {
			return err
		}
		const home, below = "\x1b[H", "\x1b[J" // overwrite in place: clearing first would flicker
		fmt.Fprint(t.out, home)
		_, _ = t.out.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\x1b[K\r\n")))
		fmt.Fprint(t.out, below)
	}
}

// quitKeys calls cancel when q, Q, Ctrl-C or the end of input comes.
func quitKeys(cancel context.CancelFunc) {
	defer cancel()
	key := make([]byte, 1)
	for {
		n, err := os.Stdin.Read(key)
		if err != nil || n == 1 && bytes.ContainsAny(key, "qQ\x03") {
			return
		}
	}
}

// fit cuts a frame to a terminal; 0 means no limit.
func fit(b []byte, width, height int) []byte {
	if width == 0 {
		return b
	}
	var out []byte
	for i, line := range bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n")) {
		if i == height-1 {
			break
		}
		if r := bytes.Runes(line); len(r) > width {
			line = []byte(string(r[:width]))
		}
		out = append(append(out, line...), '\n')
	}
	return out
}
