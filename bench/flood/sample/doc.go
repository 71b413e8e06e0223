// Package sample is a few clients beside a flood, which do what all of a flood's sources would if they were real:
// each asks, asks the same again, and some of them return the cookie. So answers are not only counted: they are timed,
// checked in every field, and compared with each other, and the server shows whether it takes its own cookies.
//
// The clients have sockets of their own, each with an address and port of its own, so they need no privileges and work
// beside any generator. Arrivals have the kernel's time stamps: a machine that is busy with the flood makes no slow
// server of a fast one.
//
// A [Sample] is made by [New], runs once, in [Sample.Run], and is closed by [Sample.Close] after that. It keeps to the
// network namespace of the thread that New was called on. [Sample.Take] may be called at any time from anywhere.
package sample
