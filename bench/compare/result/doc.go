// Package result has the outcome of measurements: a [Report] with an outcome per scenario, stored as JSON. It can
// read and write reports, make tables of them, compare two reports and project a report to a NIC; it
// measures nothing.
//
// A figure is the [Spread] of several runs. A median of 0 means that there is no figure; the table gives the reason.
package result
