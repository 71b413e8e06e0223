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

// Log messages are constant, and their keys are snake_case words that docs/operating.md lists.
func TestLogKeysAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../operating.md")
	if err != nil {
		t.Fatal(err)
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
					checkLog(t, string(page), set, call)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkLog looks at a call if it is one of a logger.
func checkLog(t *testing.T, page string, set *token.FileSet, call *ast.CallExpr) {
	t.Helper()
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return
	}
	var logger string
	switch x := method.X.(type) {
	case *ast.Ident:
		logger = x.Name
	case *ast.SelectorExpr:
		logger = x.Sel.Name
	}
	if !strings.EqualFold(logger, "log") {
		return
	}
	keys := call.Args
	switch method.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		if text(call.Args[0]) == "" {
			t.Errorf("%v: the message is not a constant", set.Position(call.Pos()))
		}
		keys = call.Args[1:]
	case "With":
	default:
		return
	}
	for i := 0; i < len(keys); i += 2 {
		key := text(keys[i])
		if key == "" {
			return // attributes, or a list
		}
		if !regexp.MustCompile(`^[a-z][a-z_]*$`).MatchString(key) || !strings.Contains(page, "`"+key+"`") {
			t.Errorf("%v: key %q is not snake_case, or not in docs/operating.md", set.Position(call.Pos()), key)
		}
	}
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
