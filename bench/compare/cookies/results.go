package cookies

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are nanoseconds per cookie, one value for each run of a benchmark.
type results struct {
	cpu     string
	names   []string // of implementations, in the order of the input
	batches []int    // sizes, ascending
	values  map[key][]float64
	std     []float64 // crypto/hmac
}

type key struct {
	name  string
	batch int
}

var (
	cookieLine = regexp.MustCompile(`^BenchmarkCookies/impl=([^/\s]+)/batch=(\d+?)(?:-\d+)?\s.*?([\d.]+) ns/cookie`)
	stdLine    = regexp.MustCompile(`^BenchmarkStdHMAC\S*\s.*?([\d.]+) ns/cookie`)
)

func read(in io.Reader) (*results, error) {
	r := &results{values: map[key][]float64{}}
	s := bufio.NewScanner(in)
	for s.Scan() {
		line := s.Text()
		if cpu, ok := strings.CutPrefix(line, "cpu: "); ok {
			r.cpu = cpu
		}
		if m := stdLine.FindStringSubmatch(line); m != nil {
			ns, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			r.std = append(r.std, ns)
		}
		m := cookieLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		batch, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		ns, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		if !slices.Contains(r.names, m[1]) {
			r.names = append(r.names, m[1])
		}
		if !slices.Contains(r.batches, batch) {
			r.batches = append(r.batches, batch)
		}
		k := key{m[1], batch}
		r.values[k] = append(r.values[k], ns)
	}
	slices.Sort(r.batches)
	return r, s.Err()
}

// median of at least one value.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// table prints medians, with the spread of all runs where the batch is largest, and the ratio to crypto/hmac.
func (r *results) table(out io.Writer) {
	fmt.Fprintf(out, "%s, medians of %d runs, ns per cookie (times faster than crypto/hmac)\n\n", r.cpu, len(r.std))
	fmt.Fprint(out, "| batch |")
	for _, b := range r.batches {
		fmt.Fprintf(out, " %d |", b)
	}
	fmt.Fprintf(out, " spread at %d |\n|---|%s\n", r.batches[len(r.batches)-1], strings.Repeat("---|", len(r.batches)+1))
	std := median(r.std)
	for _, name := range r.names {
		fmt.Fprintf(out, "| %s |", name)
		var last []float64
		for _, b := range r.batches {
			last = r.values[key{name, b}]
			if len(last) == 0 {
				fmt.Fprint(out, " |")
				continue
			}
			m := median(last)
			fmt.Fprintf(out, " %.1f (%.1f) |", m, std/m)
		}
		fmt.Fprintln(out, spread(last))
	}
	fmt.Fprintf(out, "| crypto/hmac | %.1f |%s%s\n", std, strings.Repeat(" |", len(r.batches)-1), spread(r.std))
}

func spread(v []float64) string {
	if len(v) == 0 {
		return " |"
	}
	return fmt.Sprintf(" %.1f..%.1f |", slices.Min(v), slices.Max(v))
}
