package emulator

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Files are the initial contents of a machine's file system, by absolute path.
type Files map[string]File

// File is a file: its contents, or the path on this machine to copy from.
type File struct {
	Contents []byte
	From     string
	Link     string // target of a symbolic link
	Mode     os.FileMode
}

// Program adds a program of this machine, by path or by name in PATH, as /bin/NAME, with the libraries that ldd(1) lists.
func (f Files) Program(program string) error {
	from, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("program of a machine: %w", err)
	}
	return f.ProgramAs(from, "/bin/"+filepath.Base(program))
}

// ProgramAs adds the program at from as to.
func (f Files) ProgramAs(from, to string) error {
	f[to] = File{From: from, Mode: 0o755}
	out, err := exec.Command("ldd", from).CombinedOutput()
	if bytes.Contains(out, []byte("not a dynamic executable")) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("libraries of %s: %w: %s", from, err, out)
	}
	for line := range strings.Lines(string(out)) {
		for _, word := range strings.Fields(line) {
			if filepath.IsAbs(word) {
				f[word] = File{From: word, Mode: 0o755}
			}
		}
	}
	return nil
}

// write writes the archive for the kernel.
func (f Files) write(a *archive) error {
	dirs := map[string]bool{"/": true, ".": true}
	var mkdir func(dir string)
	mkdir = func(dir string) {
		if dirs[dir] {
			return
		}
		dirs[dir] = true
		mkdir(path.Dir(dir))
		a.add(dir[1:], typeDir|0o755, nil)
	}
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		file := f[name]
		mkdir(path.Dir(name))
		switch {
		case file.Link != "":
			a.add(name[1:], typeLink|0o777, []byte(file.Link))
		case file.Mode.IsDir():
			mkdir(name)
		default:
			contents := file.Contents
			if file.From != "" {
				var err error
				if contents, err = os.ReadFile(file.From); err != nil {
					return fmt.Errorf("file of a machine: %w", err)
				}
			}
			a.add(name[1:], typeFile|uint32(file.Mode.Perm()), contents)
		}
	}
	return a.close()
}
