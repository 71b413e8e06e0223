package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// listed is what the table uses of a line of go list -json.
type listed struct {
	ImportPath, Name, Doc string
	Module                struct{ Path string }
	Imports               []string
}

// packageTable has two tables: the packages with their synopses, and the packages of this module that each imports.
func packageTable(root string) (string, error) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Module,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	var text, imports strings.Builder
	text.WriteString("| package | what |\n|---|---|\n")
	imports.WriteString("\n| package | imports of this module |\n|---|---|\n")
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return text.String() + imports.String(), nil
		} else if err != nil {
			return "", fmt.Errorf("go list: %w", err)
		}
		var ours []string
		for _, i := range p.Imports {
			if in, ok := strings.CutPrefix(i, p.Module.Path+"/"); ok {
				ours = append(ours, short(in))
			}
		}
		place := strings.TrimPrefix(p.ImportPath, p.Module.Path+"/")
		fmt.Fprintf(&text, "| `%s` | %s |\n", place, synopsis(&p, widest-len(place)-len("| `` |  |")))
		if len(ours) > 0 {
			fmt.Fprintf(&imports, "| `%s` | %s |\n", place, strings.Join(ours, ", "))
		}
	}
}

// widest is the longest row.
const widest = 150

// synopsis is the package's one-sentence description without its name, cut to a length.
func synopsis(p *listed, most int) string {
	s := strings.TrimRight(p.Doc, ".:")
	for _, prefix := range []string{"Package " + p.Name + " ", "Command " + p.ImportPath[strings.LastIndex(p.ImportPath, "/")+1:] + " "} {
		s = strings.TrimPrefix(s, prefix)
	}
	if len(s) > most {
		s = strings.TrimRight(s[:strings.LastIndex(s[:most-len(" ...")], " ")], " ,;:(") + " ..."
	}
	return strings.ReplaceAll(s, "|", "/")
}

// short is a package's last path element, or two where one is ambiguous.
func short(path string) string {
	parts := strings.Split(path, "/")
	last := parts[len(parts)-1]
	switch last {
	case "server", "xdp", "lab":
		return strings.Join(parts[len(parts)-2:], "/")
	}
	return last
}
