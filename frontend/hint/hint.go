// Package hint attaches fixes to errors and prints both. An error names what failed; its hint names one command, setting or
// step that fixes it. Commands print both with [Print], logs and JSON carry the hint under the key "hint"
// ([Of]). Any package of frontend and cmd may use it; it imports nothing of this project. Package bpf, which must not import
// it, gives its errors a method Hint() string, which [Of] finds as well.
//
// Libraries know no command line. They name a setting as "setting harvest-pool"; what commands print and log has the flag
// instead, --harvest-pool ([Flags]).
package hint

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// ErrUsage marks an invalid request, as opposed to one that failed. Commands exit with
// status 2 for it.
var ErrUsage = errors.New("usage")

// hinted is an error with its fix.
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

// usage is an error that is also ErrUsage.
type usage struct{ error }

func (u usage) Unwrap() []error { return []error{u.error, ErrUsage} }

// Usage marks err as a mistake in usage; nil for a nil err.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usage{err}
}

// Usagef makes an error of a mistake in usage.
func Usagef(format string, a ...any) error { return usage{fmt.Errorf(format, a...)} }

// several are errors that are printed one by one.
type several []error

func (s several) Error() string   { return errors.Join(s...).Error() }
func (s several) Unwrap() []error { return s }

// Several joins errors with hints of their own, such as mistakes in a file, without duplicates; nil if there
// are none.
func Several(all ...error) error {
	var list several
	for _, err := range all {
		if err != nil && !slices.ContainsFunc(list, func(e error) bool { return e.Error() == err.Error() }) {
			list = append(list, err)
		}
	}
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

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

// Setting finds the settings that a library's text names.
var Setting = regexp.MustCompile(`\bsetting ([a-z][a-z0-9]*(?:-[a-z0-9]+)*)`)

// command finds the commands that it names.
var command = regexp.MustCompile(`\bcommand ([a-z]+) with setting\b`)

// ebpfAdvice is what github.com/cilium/ebpf tells programmers when a kernel permits nothing: that the limit of locked memory may
// be the reason, which it has not been since Linux 5.11.
const ebpfAdvice = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

// Flags renders the settings that a library's text names as command-line flags, and the commands as they are typed. Advice for
// programmers is left out.
func Flags(text string) string {
	text = strings.ReplaceAll(text, ebpfAdvice, "")
	return Setting.ReplaceAllString(command.ReplaceAllString(text, "dtlsguard $1 setting"), "--$1")
}

// Print writes err for a terminal: a line "error: ..." and, if a fix is known, a line "hint: ...". For a mistake in usage
// without a fix of its own the hint is otherwise. Of [Several] errors each is written so.
func Print(w io.Writer, err error, otherwise string) {
	if all, ok := err.(several); ok { //nolint:errorlint // one inside another error is part of its text
		for _, e := range all {
			Print(w, e, otherwise)
		}
		return
	}
	fmt.Fprintf(w, "error: %s\n", Flags(Line(err)))
	h := Flags(Of(err))
	if h == "" && errors.Is(err, ErrUsage) {
		h = otherwise
	}
	if h != "" {
		fmt.Fprintf(w, "hint: %s\n", h)
	}
}

// Line is an error in one line; joined errors have several.
func Line(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
