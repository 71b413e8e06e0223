package main

import (
	"strings"
	"testing"
)

func TestMisspeltCommandIsNamed(t *testing.T) {
	for arg, want := range map[string]string{"stauts": "did you mean status?", "even": "did you mean events?", "xyzzy": `no command "xyzzy"`, "launch1": `no command "launch1"`} {
		cmd := newRoot()
		cmd.SetArgs([]string{arg})
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "mean launch") {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
	}
}
