// Package privileges gives up, for good and on all threads, what a guard does not need once it serves: its user, its
// capabilities, system calls and files.
//
// [Drop] is called once, when all is open. It works in builds with and without cgo alike. Whatever a running guard does
// later must be possible afterwards: a system call belongs into calls.go, a capability into [Config.Keep], a file into
// [Config.Read] or [Config.Write].
package privileges
