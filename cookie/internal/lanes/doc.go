// Package lanes computes the cookies of format v1 (package cookie has the format), up to 16 messages at a time, with
// SHA instructions, vector instructions or portable Go, whichever is fastest on this CPU for so many.
//
// A [Key] is a secret made ready. A [Batch] belongs to one goroutine; its lanes are filled, computed and read out
// without an allocation. A [Plan] says which implementations compute it. Only package cookie uses this package.
package lanes
