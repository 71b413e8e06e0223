package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// The user that owns a guard's pins can put symbolic links to the pins of others under their names. Neither unload nor a start
// detaches those, replaces their programs or pins next to them.
func TestPinsFollowNoLinks(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	g := load(t, pinsTo(dir)) // stands for another's programs
	attach(t, l, g, lab.ToClient, AttachNative)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	theirs, ours := PinDir(dir, lab.ToClient), filepath.Join(filepath.Dir(dir), "ours")
	entries, err := os.ReadDir(theirs)
	if err != nil {
		t.Fatal(err)
	}
	before := len(entries)
	plant := map[string]func(at string) error{
		"directory": func(at string) error { return os.Symlink(theirs, at) },
		"files": func(at string) error {
			err := os.Mkdir(at, 0o700)
			for _, e := range entries {
				target := filepath.Join(theirs, e.Name())
				if e.Name() == layoutPin {
					target, _ = os.Readlink(target)
				}
				err = errors.Join(err, os.Symlink(target, filepath.Join(at, e.Name())))
			}
			return err
		},
	}
	for name, put := range plant {
		t.Run(name, func(t *testing.T) {
			at := PinDir(ours, lab.ToClient)
			if err := errors.Join(os.MkdirAll(ours, 0o700), put(at)); err != nil {
				t.Fatal(err)
			}
			if g, err := Load(pinsTo(ours)); err == nil {
				err = l.Middle.Do(func() error { _, err := g.Attach(lab.ToClient, AttachNative); return err })
				if err == nil {
					t.Error("the guard took over another's pins")
				}
				_ = g.Close()
			}
			if _, err := os.Lstat(at); err != nil {
				t.Fatalf("before unload: %v", err)
			}
			found, err := Unload(at)
			if !found || !errors.Is(err, pinfs.ErrForeign) {
				t.Errorf("unload: %v, %v", found, err)
			}
			if _, err := os.Lstat(at); err == nil {
				t.Error("unload left the links")
			}
			if now, err := os.ReadDir(theirs); err != nil || len(now) != before {
				t.Errorf("%d pins of another's, and %d before: %v", len(now), before, err)
			}
			wantAttached(t, l, true)
		})
	}
	if _, err := Unload(theirs); err != nil {
		t.Error(err)
	}
}
