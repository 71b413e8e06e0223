package cookies

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `cpu: Some <CPU>
BenchmarkCookies/impl=generic/batch=1-2     100   500.0 ns/op   500.0 ns/cookie   0 B/op   0 allocs/op
BenchmarkCookies/impl=generic/batch=64-2    100 25600.0 ns/op   400.0 ns/cookie   0 B/op   0 allocs/op
BenchmarkCookies/impl=shani-x2/batch=64     100  3200.0 ns/op    50.0 ns/cookie   0 B/op   0 allocs/op
BenchmarkStdHMAC-2                          100   200.0 ns/op   200.0 ns/cookie   0 B/op   0 allocs/op
BenchmarkCookies/impl=generic/batch=1-2     100   600.0 ns/op   600.0 ns/cookie   0 B/op   0 allocs/op
BenchmarkStdHMAC-2                          100   100.0 ns/op   100.0 ns/cookie   0 B/op   0 allocs/op
BenchmarkStdHMAC-2                          100   900.0 ns/op   200.0 ns/cookie   0 B/op   0 allocs/op
`

func TestTableAndDrawing(t *testing.T) {
	svg := filepath.Join(t.TempDir(), "x.svg")
	var out strings.Builder
	if err := Report(strings.NewReader(output), &out, svg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Some <CPU>, medians of 3 runs",
		"| batch | 1 | 64 | spread at 64 |",
		"| generic | 550.0 (0.4) | 400.0 (0.5) | 400.0..400.0 |",
		"| shani-x2 | | 50.0 (4.0) | 50.0..50.0 |",
		"| crypto/hmac | 200.0 | | 100.0..200.0 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	drawn, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Some &lt;CPU&gt;", ">shani-x2</text>", "</svg>"} {
		if !strings.Contains(string(drawn), want) {
			t.Errorf("no %q in the drawing", want)
		}
	}
}

func TestNoBenchmarksIsAnError(t *testing.T) {
	if err := Report(strings.NewReader("PASS\n"), &strings.Builder{}, ""); err == nil {
		t.Error("an input without benchmarks is accepted")
	}
}
