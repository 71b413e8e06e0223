package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"os"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// Write writes the page of r.
func Write(w io.Writer, r *result.Report) error {
	all, err := drawings(r)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := page.Execute(w, struct {
		*result.Report
		Drawings []template.HTML
	}{r, all}); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// WriteFile writes the page of r to a file.
func WriteFile(path string, r *result.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := Write(f, r); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
