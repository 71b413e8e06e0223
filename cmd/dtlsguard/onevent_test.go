package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The command gets each event as variables and nothing else, in order, and one that fails does not end the others.
func TestRunCommands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	t.Setenv("SECRET", "of the guard")
	var log bytes.Buffer
	in := `["DTLSGUARD_EVENT=attack-started","DTLSGUARD_SERVICE=$(touch x); one","OUT=` + file + `"]
["DTLSGUARD_EVENT=fail","OUT=` + file + `"]
["DTLSGUARD_EVENT=attack-ended","DTLSGUARD_SERVICE=one","OUT=` + file + `"]
`
	command := `[ "$DTLSGUARD_EVENT" != fail ] || { echo no mail; exit 3; }; echo "$DTLSGUARD_EVENT $DTLSGUARD_SERVICE $SECRET." >>"$OUT"`
	if err := runCommands(strings.NewReader(in), command, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(file)
	if want := "attack-started $(touch x); one .\nattack-ended one .\n"; string(out) != want || err != nil {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
	if s := log.String(); !strings.Contains(s, "exit status 3: no mail") {
		t.Errorf("the log says %q", s)
	}
}
