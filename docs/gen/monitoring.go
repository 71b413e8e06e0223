package main

import (
	"fmt"
	"strings"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/events"
)

// eventsTable is a row for each kind of event.
func eventsTable() string {
	var text strings.Builder
	text.WriteString("| event | when | details |\n|---|---|---|\n")
	for k := range events.KindLen {
		meaning, details := k.Doc()
		fmt.Fprintf(&text, "| `%v` | %s | %s |\n", k, meaning, strings.Join(details, ", "))
	}
	return text.String()
}

// metricsTable is a row for each metric of a guard.
func metricsTable() string {
	var text strings.Builder
	text.WriteString("| metric | kind | labels | what |\n|---|---|---|---|\n")
	for _, f := range frontend.MetricFamilies() {
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", f.Name, f.Kind, strings.Join(f.Labels, ", "), f.Help)
	}
	return text.String()
}
