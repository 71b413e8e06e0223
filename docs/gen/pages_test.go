package main

import (
	"os"
	"path/filepath"
	"regexp"
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
