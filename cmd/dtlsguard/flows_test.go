package main

import "testing"

func TestFiguresAreShort(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 12345: "12.3 kB", 999499: "999 kB", 999500: "1.00 MB",
		9995000: "10.0 MB", 1234567890: "1.23 GB", 5e15: "5000 TB"} {
		if got := sized(n); got != want {
			t.Errorf("%d bytes: %q, want %q", n, got, want)
		}
	}
	for s, want := range map[float64]string{0: "0s", 59.2: "59s", 3599: "60m", 7200: "2h", 3 * 86400: "3d"} {
		if got := short(s); got != want {
			t.Errorf("%v s: %q, want %q", s, got, want)
		}
	}
}
