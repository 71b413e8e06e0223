package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the documents for people.
func pages(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"../../*.md", "../*.md", "../../bench/*.md", "../../cookie/*.md", "../../examples/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// Every link between the pages leads somewhere, and so does every file that they name.
func TestPagesNameWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	file := regexp.MustCompile("`((?:bench|bpf|cmd|cookie|deploy|docs|examples|frontend|test)/[\\w./-]*[\\w/])`")
	for _, p := range pages(t) {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(p), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", p, m[1])
			}
		}
		for _, m := range file.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", p, m[1])
			}
		}
	}
}

// A function in parentheses after its file is in that file.
func TestPagesNameFunctionsThatExist(t *testing.T) {
	named := regexp.MustCompile("`([\\w./-]+\\.(go|c|h))`\\s+\\((`\\w+`(?:,\\s+`\\w+`)*)\\)")
	checked := 0
	for _, p := range pages(t) {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			source, err := os.ReadFile(filepath.Join("../..", m[1]))
			if err != nil {
				t.Errorf("%s: %v", p, err)
				continue
			}
			for _, f := range regexp.MustCompile(`\w+`).FindAllString(m[3], -1) {
				definition := `(?m)^func (\([^)]*\) )?` + f + `\(`
				if m[2] != "go" {
					definition = `(?m)^[A-Za-z_].*\b` + f + `\(`
				}
				if !regexp.MustCompile(definition).Match(source) {
					t.Errorf("%s names %s in %s, which is not there", p, f, m[1])
				}
				checked++
			}
		}
	}
	if checked < 30 {
		t.Errorf("%d functions found on the pages: is the form of ARCHITECTURE.md another one?", checked)
	}
}

// Rows that are wider than a terminal are not read.
func TestTablesAreNarrow(t *testing.T) {
	const widest = 160
	for _, p := range pages(t) {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "|") && len([]rune(line)) > widest {
				t.Errorf("%s:%d: a row of %d characters, want %d at most", p, n+1, len([]rune(line)), widest)
			}
		}
	}
}

// The front page stays one that is read to its end.
func TestReadmeIsShort(t *testing.T) {
	const most = 9000
	info, err := os.Stat("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > most {
		t.Errorf("README.md has %d bytes, want %d at most", info.Size(), most)
	}
}
