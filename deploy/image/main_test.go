package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The layer is a complete archive, also if a program's length is not a multiple of the block size. Go's reader tolerates less; tar
// and programs that unpack images with it do not.
func TestLayerIsWhole(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "program"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	layer, err := new(builder).layer(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("tar", "-tf", "-")
	list.Stdin = strings.NewReader(string(layer))
	if out, err := list.CombinedOutput(); err != nil || string(out) != "run/\nrun/dtlsguard/\nprogram\n" {
		t.Errorf("%v\n%s", err, out)
	}
}
