package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Log messages are constant; their keys are those that docs/operating.md lists, which are snake_case words, and no others.
func TestLogKeysAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, logs, _ := strings.Cut(string(page), "\n## Logs\n")
	logs, _, _ = strings.Cut(logs, "\n## ")
	used := map[string]bool{} // by key: whether a line has it
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*)\\|").FindAllStringSubmatch(logs, -1) {
		for _, key := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(row[1], -1) {
			used[key[1]] = false
		}
	}
	for _, root := range []string{"../../frontend", "../../cmd/dtlsguard", "../../bpf"} {
		err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					checkLog(t, used, set, call)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, is := range used {
		if !is {
			t.Errorf("docs/operating.md lists key %q, which no line has", key)
		}
	}
}

// checkLog looks at a call if it is one of a logger, and notes the keys that it uses.
func checkLog(t *testing.T, used map[string]bool, set *token.FileSet, call *ast.CallExpr) {
	t.Helper()
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	var logger string
	switch x := method.X.(type) {
	case *ast.Ident:
		logger = x.Name
	case *ast.SelectorExpr:
		logger = x.Sel.Name
	}
	message, ok := messageAt[method.Sel.Name]
	if !ok || !strings.EqualFold(logger, "log") || len(call.Args) <= message {
		return
	}
	if message >= 0 && text(call.Args[message]) == "" && !fromTable(call.Args[message]) {
		t.Errorf("%v: the message is not a constant", set.Position(call.Pos()))
	}
	keys := call.Args[message+1:]
	for i := 0; i < len(keys); i += 2 {
		key := text(keys[i])
		if key == "" {
			return // a list: events have their details in docs/monitoring.md
		}
		if _, listed := used[key]; !listed || !regexp.MustCompile(`^[a-z][a-z_]*$`).MatchString(key) {
			t.Errorf("%v: key %q is not snake_case, or not in docs/operating.md", set.Position(call.Pos()), key)
		}
		used[key] = true
	}
}

// messageAt is the index of the message among the arguments of a logger's method; -1: it has none.
var messageAt = map[string]int{"With": -1, "Debug": 0, "Info": 0, "Warn": 0, "Error": 0, "Log": 2}

// fromTable reports whether e is the message of a kind of event, which is a constant of their table.
func fromTable(e ast.Expr) bool {
	field, ok := e.(*ast.SelectorExpr)
	return ok && field.Sel.Name == "message"
}

// text is the value of a string literal, "" of anything else.
func text(e ast.Expr) string {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(l.Value)
	if err != nil {
		return ""
	}
	return s
}
