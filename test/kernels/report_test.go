package kernels

import (
	"regexp"
	"strings"
	"testing"
)

var result = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+)`)

// report turns the results that a verbose test run printed into those of subtests of t. What a test printed before its result
// is shown with it.
func report(t *testing.T, output string) {
	t.Helper()
	lines := strings.SplitAfter(output, "\n")
	var said strings.Builder
	for i := 0; i < len(lines); i++ {
		m := result.FindStringSubmatch(lines[i])
		if m == nil {
			if !strings.HasPrefix(lines[i], "=== ") {
				said.WriteString(lines[i])
			}
			continue
		}
		var inner [][]string // a test's result comes before those of its subtests
		for i+1 < len(lines) {
			s := result.FindStringSubmatch(lines[i+1])
			if s == nil || s[1] == "" {
				break
			}
			inner = append(inner, s)
			i++
		}
		t.Run(m[3], func(t *testing.T) {
			t.Log("\n" + said.String())
			for _, s := range inner {
				t.Run(strings.TrimPrefix(s[3], m[3]+"/"), func(t *testing.T) { conclude(t, s[2]) })
			}
			conclude(t, m[2])
		})
		said.Reset()
	}
	if rest := strings.TrimSpace(said.String()); rest != "PASS" && rest != "FAIL" {
		t.Log("\n" + rest)
	}
}

func conclude(t *testing.T, result string) {
	switch result {
	case "FAIL":
		t.Fail()
	case "SKIP":
		t.Skip("in the guest")
	}
}
