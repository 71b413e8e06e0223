// Command gen writes the generated parts of the documentation: the table of packages in ARCHITECTURE.md, those of metrics and events in docs/monitoring.md, and the picture
// of the three shapes. It runs as part of make generate.
package main

//go:generate go run . -root ../..

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	root := flag.String("root", ".", "directory of the repository")
	screen := flag.String("terminal", "", "draw this file, a terminal's screen, as docs/top.svg instead")
	flag.Parse()
	write := run
	if *screen != "" {
		write = func(root string) error { return drawTerminal(*screen, filepath.Join(root, "docs", "top.svg")) }
	}
	if err := write(*root); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	table, err := packageTable(root)
	if err != nil {
		return err
	}
	if err := replaceBlock(filepath.Join(root, "ARCHITECTURE.md"), "packages", table); err != nil {
		return err
	}
	if err := replaceBlock(filepath.Join(root, "docs", "monitoring.md"), "events", eventsTable()); err != nil {
		return err
	}
	if err := replaceBlock(filepath.Join(root, "docs", "monitoring.md"), "metrics", metricsTable()); err != nil {
		return err
	}
	for _, t := range []theme{light, dark} {
		if err := os.WriteFile(filepath.Join(root, "docs", "shapes-"+t.name+".svg"), []byte(shapes(t)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// drawTerminal draws the screen in one file to another.
func drawTerminal(screen, svg string) error {
	text, err := os.ReadFile(screen)
	if err != nil {
		return err
	}
	return os.WriteFile(svg, []byte(terminal(string(text))), 0o644)
}

// replaceBlock writes text between the lines "<!-- NAME: ... -->" and "<!-- end of NAME -->" of a file.
func replaceBlock(file, name, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), "<!-- "+name+":")
	head, rest, ok2 := strings.Cut(rest, "-->\n")
	_, after, ok3 := strings.Cut(rest, "<!-- end of "+name+" -->")
	if !ok || !ok2 || !ok3 {
		return fmt.Errorf("%s has no block %q", file, name)
	}
	return os.WriteFile(file, []byte(before+"<!-- "+name+":"+head+"-->\n"+text+"<!-- end of "+name+" -->"+after), 0o644)
}
