// Package report writes a result for people: one HTML page that needs nothing from elsewhere, with drawings,
// tables and what to beware of.
package report
