package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The launcher starts nothing that the guard's user, or the guard itself, could have placed, on whatever way.
func TestStartable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const guard = 65534
	dir := t.TempDir()
	file := func(mode os.FileMode, uid int, names ...string) string {
		t.Helper()
		path := filepath.Join(append([]string{dir}, names...)...)
		parent := filepath.Dir(path)
		for _, err := range []error{os.MkdirAll(parent, 0o755), os.WriteFile(path, nil, 0o600), os.Chmod(path, mode), os.Lchown(path, uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	link := func(to, name string, uid int) string {
		t.Helper()
		path := filepath.Join(dir, name)
		for _, err := range []error{os.Symlink(to, path), os.Lchown(path, uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	give := func(path string, uid int, mode os.FileMode) string {
		t.Helper()
		for _, err := range []error{os.Chmod(filepath.Dir(path), mode), os.Chown(filepath.Dir(path), uid, uid)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	own := file(0o755, 0, "bin", "dtlsguard")
	rule := startRule{guard: guard, writable: []string{filepath.Join(dir, "run")}}
	for path, want := range map[string]string{
		own:                                                      "",
		link("bin/../bin", "root's", 0):                          "is not a program",
		link("root's/dtlsguard", "a", 0):                         "",
		link(own, "b", 0):                                        "",
		link(own, "c", guard):                                    "belongs to user 65534",
		file(0o755, guard, "guard's"):                            "belongs to user 65534",
		file(0o755, 1000, "third's"):                             "belongs to user 1000",
		file(0o775, 0, "group's"):                                "can be written to by others",
		file(0o644, 0, "text"):                                   "is not a program",
		file(0o755, 0, "run", "placed"):                          "where the guard itself can write",
		link("loop", "loop", 0):                                  "too many symbolic links",
		filepath.Join(dir, "none"):                               "not there any more",
		give(file(0o755, 0, "d", "x"), guard, 0o755):             "belongs to user 65534",
		give(file(0o755, 0, "e", "x"), 0, 0o777):                 "can be written to by others",
		give(file(0o755, 0, "tmp", "x"), 0, 0o777|os.ModeSticky): "",
	} {
		err := rule.check(path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	// A guard that stays root has nothing that root's own programs could not have.
	if err := (&startRule{}).check(own); err != nil {
		t.Error(err)
	}
}
