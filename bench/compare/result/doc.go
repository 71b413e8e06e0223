// Package result is what measuring leaves: a [Report] of outcomes, one for each scenario, kept as JSON. It knows how to
// read and write them, to put them into tables, to compare two reports and to project a report to a NIC; it
// measures nothing.
//
// A figure is the [Spread] of several runs. A median of 0 stands for: there is no figure, and the table says why.
package result
