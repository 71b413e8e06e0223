package bpf

import "testing"

func TestStackOf(t *testing.T) {
	for statistics, want := range map[string]string{
		"verification time 66 usec\nstack depth 184+16+24\nprocessed 26057 insns": "184+16+24",
		"verification time 66 usec\nstack depth max 64\nsubprog 0 (trust_tcp) main insns_self 567 insns_total 567 stack 40\n" +
			"subprog 1 (find_way) global insns_self 948 insns_total 948 stack 16\nprocessed 1515 insns": "40+16", // Linux 7.3
	} {
		if got := stackOf(statistics); got != want {
			t.Errorf("%q: %q, want %q", statistics, got, want)
		}
	}
}
