package bpf

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// The programs and the Go parser have the same reasons: names and numbers.
func TestReasonsAreTheParsers(t *testing.T) {
	spec, err := loadGuard()
	if err != nil {
		t.Fatal(err)
	}
	var enum *btf.Enum
	if err := spec.Types.TypeByName("reason", &enum); err != nil {
		t.Fatal(err)
	}
	if reasonLen != hello.ReasonLen || len(enum.Values) != reasonLen+1 {
		t.Fatalf("reasonLen is %d, hello has %d, the programs %d", reasonLen, hello.ReasonLen, len(enum.Values)-1)
	}
	for i := range reasonLen {
		want := strings.ToUpper(strings.ReplaceAll(hello.Reason(i).String(), "-", "_"))
		switch want { // labels that say more than the C name
		case "HELLO":
			want = "OK"
		case "BAD_COOKIE_LENGTH":
			want = "BAD_COOKIE"
		}
		if v := enum.Values[i]; v.Value != uint64(i) || v.Name != "REASON_"+want {
			t.Errorf("%+v where the parser has %d, %s", v, i, want)
		}
	}
}
