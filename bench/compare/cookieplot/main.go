// Command cookieplot reads the output of the benchmarks of cookie/internal/lanes, any number of runs in a row, prints
// a table of the medians and draws them.
//
//	go test -run '^$' -bench 'Cookies|StdHMAC' ./cookie/internal/lanes | go run ./bench/compare/cookieplot -svg cookie/cookies.svg
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	svg := flag.String("svg", "", "`file` to draw to")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *svg); err != nil {
		fmt.Fprintln(os.Stderr, "cookieplot:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, svg string) error {
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
	r.draw(f)
	return f.Close()
}
