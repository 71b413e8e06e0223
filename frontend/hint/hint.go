// Package hint attaches to errors how to fix them, and prints both. An error names what failed; its hint names one command,
// setting or step that fixes it. Commands print both with [Print], logs and JSON carry the hint under the key "hint"
// ([Of]). Any package may use it; it imports nothing of this project. Packages that must not import it (bpf,
// udpbatch) give their errors a method Hint() string, which [Of] finds as well.
//
// Library errors speak of what failed, never of command-line flags; hints of commands may.
package hint

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrUsage marks a request that makes no sense, as opposed to one that could not be done. Commands exit with
// status 2 for it.
var ErrUsage = errors.New("usage")

// hinted is an error that knows its remedy.
type hinted struct {
	error
	hint string
}

func (h *hinted) Hint() string  { return h.hint }
func (h *hinted) Unwrap() error { return h.error }

// Add returns err with a hint; nil for a nil err.
func Add(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return &hinted{err, hint}
}

// Errorf makes an error with a hint.
func Errorf(hint, format string, a ...any) error { return Add(fmt.Errorf(format, a...), hint) }

// usage is an error that is ErrUsage, too.
type usage struct{ error }

func (u usage) Unwrap() []error { return []error{u.error, ErrUsage} }

// Usage marks err as a mistake in what was asked for; nil for a nil err.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usage{err}
}

// Usagef makes an error of a mistake in what was asked for.
func Usagef(format string, a ...any) error { return usage{fmt.Errorf(format, a...)} }

// Of returns the hints of err and of all that it wraps, outermost first and each once, separated by "; ";
// "" where nothing is known.
func Of(err error) string {
	var all []string
	collect(err, &all)
	return strings.Join(all, "; ")
}

func collect(err error, all *[]string) {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		for _, known := range *all {
			if known == h.Hint() {
				return
			}
		}
		*all = append(*all, h.Hint())
	}
	switch e := err.(type) { //nolint:errorlint // walks the chain itself
	case interface{ Unwrap() error }:
		collect(e.Unwrap(), all)
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			collect(part, all)
		}
	}
}

// Print writes err for a terminal: a line "error: ..." and, where a fix is known, a line "hint: ...". Where nothing
// else is known of a mistake in usage, the hint is otherwise.
func Print(w io.Writer, err error, otherwise string) {
	fmt.Fprintf(w, "error: %s\n", Line(err))
	h := Of(err)
	if h == "" && errors.Is(err, ErrUsage) {
		h = otherwise
	}
	if h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

// Line is an error in one line; joined errors have several.
func Line(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
