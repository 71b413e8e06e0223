package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Runtimes of programs that are not compiled to a binary, by the ends of their sources' names.
var runtimes = map[string]struct {
	program string // that must be installed
	launch  string // a shell's command; SOURCE is the source's path, PREFIX the tree's
}{
	".escript": {"escript", `exec escript SOURCE "$@"`},
	// The JIT's second tier and parallel collectors take the CPU that a handshake needs.
	".java": {"javac", `exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp DIRECTORY:` + bouncyCastle + ` CLASS "$@"`},
	".gd":   {"godot3-server", `cd DIRECTORY && exec godot3-server --no-window -s SOURCE "$@"`},
	".js":   {"node", `NODE_PATH=PREFIX/node_modules exec node SOURCE "$@"`},
}

// bouncyCastle is where Debian's packages have its libraries.
const bouncyCastle = "/usr/share/java/bcprov.jar:/usr/share/java/bctls.jar:/usr/share/java/bcutil.jar"

// script writes p's source and a shell script that runs it to dir, and reports whether p has a runtime.
func (p *Program) script(dir, binary string) (bool, error) {
	r, ok := runtimes[path.Ext(p.Source)]
	if !ok {
		return false, nil
	}
	if _, err := exec.LookPath(r.program); err != nil {
		return true, fmt.Errorf("no %s: apt-get install %s", r.program, p.Package)
	}
	text, err := sources.ReadFile(p.Source)
	if err != nil {
		return true, fmt.Errorf("source of %s: %w", p.Title, err)
	}
	source := filepath.Join(dir, path.Base(p.Source))
	if err := os.WriteFile(source, text, 0o600); err != nil {
		return true, err
	}
	if r.program == "javac" {
		if out, err := exec.Command("javac", "-cp", bouncyCastle, "-d", dir, source).CombinedOutput(); err != nil {
			return true, fmt.Errorf("does not compile (apt-get install %s): %s", p.Package, firstError(out))
		}
	}
	prefix, err := p.prefix(dir)
	if err != nil {
		return true, err
	}
	class := strings.TrimSuffix(path.Base(p.Source), ".java")
	launch := strings.NewReplacer("SOURCE", source, "DIRECTORY", dir, "CLASS", class, "PREFIX", prefix).Replace(r.launch)
	return true, os.WriteFile(binary, []byte("#!/bin/sh\n"+launch+"\n"), 0o700)
}
