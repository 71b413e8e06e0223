// Package cookies reads the output of the benchmarks of cookie/internal/lanes, any number of runs in a row, and reports
// the medians as a table and a drawing.
package cookies

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Report reads benchmarks from in, writes the table to out and draws to the file svg, unless that is empty.
func Report(in io.Reader, out io.Writer, svg string) error {
	r, err := read(in)
	if err != nil {
		return fmt.Errorf("read benchmarks: %w", err)
	}
	if len(r.std) == 0 || len(r.names) == 0 {
		return errors.New("input has no lines of BenchmarkCookies and BenchmarkStdHMAC")
	}
	r.table(out)
	if svg == "" {
		return nil
	}
	f, err := os.Create(svg)
	if err != nil {
		return err
	}
	if err := r.draw(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
