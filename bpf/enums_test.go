package bpf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// The numbers in consts.h are those of the Go side, and so are their names.
func TestEnumsAgree(t *testing.T) {
	spec, err := loadGuard()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []struct {
		name, prefix string
		len          int // 0: the C enum has no sentinel in Go
		word         func(int) fmt.Stringer
	}{
		{"verdict", "VERDICT_", int(VerdictLen), func(i int) fmt.Stringer { return Verdict(i) }},
		{"reason", "REASON_", int(hello.ReasonLen), func(i int) fmt.Stringer { return hello.Reason(i) }},
		{"cookie_state", "COOKIE_", int(CookieLen), func(i int) fmt.Stringer { return CookieState(i) }},
		{"egress", "EGRESS_", int(EgressLen), func(i int) fmt.Stringer { return EgressOutcome(i) }},
		{"socket", "SOCKET_", int(SocketLen), func(i int) fmt.Stringer { return SocketChoice(i) }},
		{"answer", "ANSWER_", int(answerLen), func(i int) fmt.Stringer { return Answer(i) }},
		{"unverified", "UNVERIFIED_", int(unverifiedLen), func(i int) fmt.Stringer { return Unverified(i) }},
		{"format", "FORMAT_", int(formatLen), func(i int) fmt.Stringer { return Format(i) }},
	} {
		var enum *btf.Enum
		if err := spec.Types.TypeByName(e.name, &enum); err != nil {
			t.Fatal(err)
		}
		if len(enum.Values) != e.len+1 || enum.Values[e.len].Name != e.prefix+"LEN" {
			t.Errorf("enum %s ends with %+v, want %d values and %sLEN", e.name, enum.Values[len(enum.Values)-1], e.len, e.prefix)
		}
		for i := range e.len {
			want := strings.ToUpper(strings.ReplaceAll(e.word(i).String(), "-", "_"))
			switch want { // labels that say more than the C name
			case "HELLO":
				want = "OK"
			case "BAD_COOKIE_LENGTH":
				want = "BAD_COOKIE"
			}
			if enum.Values[i].Value != uint64(i) || enum.Values[i].Name != e.prefix+want {
				t.Errorf("enum %s has %+v where Go has %d, %s", e.name, enum.Values[i], i, want)
			}
		}
	}
	if reasonLen != hello.ReasonLen {
		t.Errorf("reasonLen is %d, hello has %d", reasonLen, hello.ReasonLen)
	}
	var class *btf.Enum
	if err := spec.Types.TypeByName("class", &class); err != nil {
		t.Fatal(err)
	}
	for i, c := range []Class{ClassSTUN, ClassZRTP, ClassTURN, ClassQUIC, ClassRTP} {
		if class.Values[i].Value != uint64(c) {
			t.Errorf("class %+v is %d in Go", class.Values[i], c)
		}
	}
}
