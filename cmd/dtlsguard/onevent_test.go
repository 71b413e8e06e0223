package main

import (
	"bytes"
	"fmt"
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
	in := `["DTLSGUARD_EVENT=attack-started","DTLSGUARD_SERVICE=$(touch x); one","DTLSGUARD_OUT=` + file + `"]
["DTLSGUARD_EVENT=fail","DTLSGUARD_OUT=` + file + `"]
["DTLSGUARD_EVENT=attack-ended","DTLSGUARD_SERVICE=one","DTLSGUARD_OUT=` + file + `"]
`
	command := `[ "$DTLSGUARD_EVENT" != fail ] || { echo no mail; exit 3; }; echo "$DTLSGUARD_EVENT $DTLSGUARD_SERVICE $SECRET." >>"$DTLSGUARD_OUT"`
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

// Of what the guard says, only the variables of an event reach the command: nothing that chooses what is run.
func TestRunnerTakesOnlyVariablesOfEvents(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	in := fmt.Sprintf("[%q, %q, %q, %q]", "PATH=/x", "LD_PRELOAD=/x.so", "DTLSGUARD_EVENT=x", "=DTLSGUARD_")
	var log bytes.Buffer
	if err := runCommands(strings.NewReader(in), "env >"+file, slog.New(slog.NewTextHandler(&log, nil))); err != nil || log.Len() > 0 {
		t.Fatalf("%v, %s", err, &log)
	}
	out, err := os.ReadFile(file)
	if s := string(out); err != nil || !strings.Contains(s, "DTLSGUARD_EVENT=x\n") || strings.Contains(s, "/x") {
		t.Errorf("%v, the command's environment is\n%s", err, s)
	}
}

// A command that has ended leaves no process, in its session or in another one, and what it says is not kept without bound.
func TestCommandLeavesNothing(t *testing.T) {
	if err := adopt(); err != nil {
		t.Fatal(err)
	}
	before := children()
	for command, want := range map[string]string{
		"sleep 300 & exit 0":                                       "",
		"setsid sleep 300 & exit 0":                                "",
		"setsid sh -c 'sleep 300 & sleep 300' & echo away; exit 4": "exit status 4: away\n",
		"yes & head -c 100000 /dev/zero | tr '\\0' x; exit 5":      "exit status 5: ",
	} {
		err := runCommand(command, nil)
		if got := fmt.Sprint(err); (err != nil) != (want != "") || err != nil && !strings.HasPrefix(got, want) || len(got) > mostOutput+100 {
			t.Errorf("%s: %.100q of %d bytes, want %q", command, got, len(got), want)
		}
		if left := children(); len(left) > len(before) {
			t.Errorf("%s: processes %v are left", command, left)
		}
	}
}
