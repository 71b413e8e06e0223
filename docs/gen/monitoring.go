package main

import (
	"fmt"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// metricsTable is a row for each metric of a guard.
func metricsTable() string {
	var text strings.Builder
	text.WriteString("| metric | kind | labels | what |\n|---|---|---|---|\n")
	for _, f := range frontend.MetricFamilies() {
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(f.Labels, ", "), f.Help)
	}
	return text.String()
}
