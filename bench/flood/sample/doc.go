// Package sample runs a few clients during a flood that do what its sources would do if they were real: each asks
// for a cookie, repeats the question, and some return the cookie. So answers are timed, checked in every field and
// compared with each other, and the report shows whether the server accepts its own cookies.
//
// Each client has a socket with its own address and port, so the package needs no privileges and works beside any
// generator. The kernel takes the time stamps of arrivals, so that a machine busy with the flood does not make a fast
// server look slow.
//
// A [Sample] is made by [New], runs once, in [Sample.Run], and is closed by [Sample.Close] after that. It stays in the
// network namespace of the thread that called New. Any goroutine may call [Sample.Take] at any time.
package sample
