package peers

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// The sources are embedded, so that the program runs anywhere with a C compiler. Only those in Go need the module.
//
//go:embed common echo openssl gnutls mbedtls wolfssl wolfssl13 boringssl qt pion pion4 erlang java godot node
var sources embed.FS

// Program is a program to build.
type Program struct {
	Name      string // of the binary
	Title     string
	Source    string   // its path in this directory; C, C++ (.cc), Go, or one of runtimes
	Libraries []string // for the linker: -lNAME, or the name of a pkg-config module
	Package   string   // Debian's, with the headers of the libraries; several, separated by blanks
	Options   []string // for the C compiler
	Compiler  string   // of C, for another architecture; "": cc
	Tree      string   // path in this directory of a script that builds libraries without a package, and prints where they are
	Release   string   // argument of that script: Debian's release with the source; "": the newest
}

// Build compiles p into dir and returns the binary's path. An error names the package to install.
func (p *Program) Build(dir string) (string, error) {
	binary := filepath.Join(dir, p.Name)
	if script, err := p.script(dir, binary); script {
		return binary, err
	}
	var command *exec.Cmd
	var err error
	if path.Ext(p.Source) == ".go" {
		command = exec.Command("go", "build", "-o", binary, "github.com/dtlsguard/dtlsguard/bench/testkit/peers/"+path.Dir(p.Source))
	} else if command, err = p.compile(dir, binary); err != nil {
		return "", err
	}
	out, err := command.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("no %s: apt-get install gcc libc6-dev %s", filepath.Base(command.Path), p.Package)
	}
	if err != nil {
		return "", fmt.Errorf("does not compile (apt-get install %s): %s", p.Package, firstError(out))
	}
	return binary, nil
}

// compile returns the command for C and C++.
func (p *Program) compile(dir, binary string) (*exec.Cmd, error) {
	names, err := fs.Glob(sources, "common/*.h")
	if err != nil {
		return nil, err
	}
	own, err := fs.Glob(sources, path.Dir(p.Source)+"/*.h")
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Concat(names, own, []string{p.Source}) {
		text, err := sources.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("source of %s: %w", p.Title, err)
		}
		if err := os.WriteFile(filepath.Join(dir, path.Base(name)), text, 0o600); err != nil {
			return nil, err
		}
	}
	compiler := cmp.Or(p.Compiler, "cc")
	if path.Ext(p.Source) == ".cc" {
		compiler = "c++"
	}
	tree, err := p.tree(dir)
	if err != nil {
		return nil, err
	}
	args := []string{"-O2", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", binary, filepath.Join(dir, path.Base(p.Source)), "-pthread"}
	args = append(append(args, p.Options...), tree...)
	for _, l := range p.Libraries {
		if strings.HasPrefix(l, "-l") {
			args = append(args, l)
			continue
		}
		flags, err := exec.Command("pkg-config", "--cflags", "--libs", l).Output()
		if err != nil {
			return nil, fmt.Errorf("no library %s (apt-get install %s): %w", l, p.Package, err)
		}
		args = append(args, strings.Fields(string(flags))...)
	}
	return exec.Command(compiler, args...), nil
}

// tree builds the libraries that p needs, and returns the compiler's arguments that find them.
func (p *Program) tree(dir string) ([]string, error) {
	prefix, err := p.prefix(dir)
	if err != nil || prefix == "" {
		return nil, err
	}
	return []string{"-I" + filepath.Join(prefix, "include"), "-L" + filepath.Join(prefix, "lib")}, nil
}

// prefix builds the libraries that p needs, by scripts that it writes to dir, and returns the directory that they are in.
func (p *Program) prefix(dir string) (string, error) {
	if p.Tree == "" {
		return "", nil
	}
	names, err := fs.Glob(sources, path.Dir(p.Tree)+"/*")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := sources.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("scripts of %s: %w", p.Title, err)
		}
		if err := os.WriteFile(filepath.Join(dir, path.Base(name)), text, 0o700); err != nil {
			return "", err
		}
	}
	return p.runTree(dir)
}

// Prefix is the directory of the tree with p's libraries.
func (p *Program) Prefix() (string, error) {
	dir, err := os.MkdirTemp("", "tree")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	return p.prefix(dir)
}

// runTree runs the script that prefix has written to dir.
func (p *Program) runTree(dir string) (string, error) {
	script := exec.Command("sh", filepath.Join(dir, path.Base(p.Tree)))
	if p.Release != "" {
		script.Args = append(script.Args, p.Release)
	}
	var said strings.Builder
	script.Stderr = &said
	out, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("its library does not build: %w\n%s", err, said.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// firstError returns the first error in a compiler's output, or its first line.
func firstError(out []byte) string {
	lines := strings.Split(string(out), "\n")
	for _, l := range lines {
		if strings.Contains(l, "error:") {
			return l
		}
	}
	return lines[0]
}
