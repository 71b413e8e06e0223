package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

// Commands on the pages name tests and targets of the Makefile that exist.
func TestPagesNameTestsAndTargetsThatExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	exists := func(pattern string) bool {
		is := regexp.MustCompile(pattern)
		return slices.ContainsFunc(tests, is.MatchString)
	}
	command := regexp.MustCompile(`go\s+test\s[^` + "`" + `\n]*?-run\s+'?([\w|$/]+)'?`)
	target := regexp.MustCompile("(?m)(?:`|^    )(?:sudo )?make\\s+([a-z][a-z0-9-]+)")
	checked := 0
	for _, p := range pages(t) {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			for _, name := range strings.Split(m[1], "|") {
				if name, _, _ = strings.Cut(name, "/"); !exists(name) {
					t.Errorf("%s names test %s, which is not there", p, name)
				}
				checked++
			}
		}
		for _, m := range regexp.MustCompile("`(Test[A-Z]\\w*)`").FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(tests, m[1]) {
				t.Errorf("%s names %s, which is not there", p, m[1])
			}
			checked++
		}
		for _, m := range target.FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)^([\w -]+ )?` + m[1] + `( [\w -]+)?:`).Match(makefile) {
				t.Errorf("%s names make %s, which is not there", p, m[1])
			}
			checked++
		}
	}
	if checked < 100 {
		t.Errorf("%d names found on the pages, want 100 or more", checked)
	}
}

// testNames lists the tests and benchmarks of the module.
func testNames(t *testing.T) (names []string) {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	err := filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
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

// Every metric that the guard names is in the table of docs/monitoring.md.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("../../frontend", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`"(dtlsguard_[a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			if !strings.Contains(string(page), "\n| `"+m[1]+"` |") {
				t.Errorf("%s: metric %s is not in docs/monitoring.md", path, m[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
