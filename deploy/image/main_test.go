package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The layer is a whole archive, also for programs whose length is no multiple of its blocks: Go's reader is content with less, tar
// and what unpacks images by it are not.
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
