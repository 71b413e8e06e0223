package emulator

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Arm64 reports whether the kernel is one of 64-bit ARM.
func (k *Kernel) Arm64() bool { return strings.HasSuffix(k.Release, "arm64") }

// System is a root file system of another architecture: Debian's packages, unpacked.
type System struct{ root string }

// FindArm64 returns packages of Debian for 64-bit ARM, with the libraries that they are named with. It downloads them into the
// cache under a name; it does not resolve dependencies.
func FindArm64(name string, packages ...string) (*System, error) {
	dir, unlock, err := lockCache()
	if err != nil {
		return nil, err
	}
	defer unlock()
	name = "arm64-" + name
	if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
		return &System{filepath.Join(dir, name)}, nil
	}
	if err := update(dir, "arm64", []string{"bookworm"}); err != nil {
		return nil, err
	}
	return &System{filepath.Join(dir, name)}, unpack(dir, "arm64", name, packages)
}

// Path is where a file of the system is on this machine.
func (s *System) Path(file string) string { return filepath.Join(s.root, file) }

// Libraries are the directories of the system's libraries.
func (s *System) Libraries() []string {
	return []string{s.Path("/lib/aarch64-linux-gnu"), s.Path("/usr/lib/aarch64-linux-gnu")}
}

// interpreter loads programs of 64-bit ARM.
const interpreter = "/lib/ld-linux-aarch64.so.1"

// Add adds a program at a path of this machine as to, with the system's libraries that it needs.
func (s *System) Add(f Files, from, to string) error {
	f[to] = File{From: from, Mode: 0o755}
	program, err := elf.Open(from)
	if err != nil {
		return fmt.Errorf("program of a machine: %w", err)
	}
	needed, err := program.ImportedLibraries()
	if err = errors.Join(err, program.Close()); err != nil {
		return fmt.Errorf("libraries of %s: %w", from, err)
	}
	if len(needed) > 0 {
		f[interpreter] = File{From: s.Path(interpreter), Mode: 0o755}
	}
	for _, name := range needed {
		to := "/lib/aarch64-linux-gnu/" + name
		if _, ok := f[to]; ok || strings.HasPrefix(name, "ld-") {
			continue
		}
		from, err := s.library(name)
		if err == nil {
			err = s.Add(f, from, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *System) library(name string) (string, error) {
	for _, dir := range s.Libraries() {
		if path := filepath.Join(dir, name); exists(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("library %s: %w", name, fs.ErrNotExist)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
