package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
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

// Who leaves --config out on a host with the package's configuration is told of it.
func TestForgottenConfigurationIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dtlsguard.toml")
	nothing := hint.Usagef("nothing to protect")
	if err := forgotten(nothing, file); hint.Of(err) != "" {
		t.Errorf("without a file: %v", hint.Of(err))
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := forgotten(nothing, file); !strings.Contains(hint.Of(err), "--config "+file) || !errors.Is(err, hint.ErrUsage) {
		t.Errorf("with a file: %v, hint %q", err, hint.Of(err))
	}
}
