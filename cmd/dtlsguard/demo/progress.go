package demo

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress shows what the demo is doing: on a terminal one line that changes in place, elsewhere at most a line per
// second.
type progress struct {
	out      io.Writer
	terminal bool
	stop     chan struct{}
	stopped  sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	text  string
	more  func() string // text that changes by itself; may be nil
	shown string
}

// How often the line is updated: as fast as is readable, or slow enough for a log file.
const (
	terminalEvery = 200 * time.Millisecond
	plainEvery    = time.Second
)

// newProgress starts showing on out, until done.
func newProgress(out io.Writer) *progress {
	p := &progress{out: out, stop: make(chan struct{})}
	every := plainEvery
	if f, ok := out.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			p.terminal, every = true, terminalEvery
		}
	}
	p.stopped.Go(func() {
		for t := time.NewTicker(every); ; {
			select {
			case <-p.stop:
				t.Stop()
				return
			case <-t.C:
				p.show()
			}
		}
	})
	return p
}

// step sets what to show.
func (p *progress) step(format string, a ...any) {
	p.mu.Lock()
	p.text = fmt.Sprintf(format, a...)
	p.mu.Unlock()
	if p.terminal {
		p.show()
	}
}

// also sets more text to show after the step; nil: none.
func (p *progress) also(more func() string) {
	p.mu.Lock()
	p.more = more
	p.mu.Unlock()
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := p.text
	if p.more != nil {
		line += p.more()
	}
	if line == p.shown {
		return
	}
	p.shown = line
	if p.terminal {
		fmt.Fprintf(p.out, "\r%s\x1b[K", line) // and erase the rest of a longer line
	} else {
		fmt.Fprintln(p.out, line)
	}
}

// done ends the display and clears the line of a terminal.
func (p *progress) done() {
	close(p.stop)
	p.stopped.Wait()
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
