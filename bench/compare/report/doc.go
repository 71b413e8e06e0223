// Package report writes a result for people: one self-contained HTML page with drawings,
// tables and notes.
package report
