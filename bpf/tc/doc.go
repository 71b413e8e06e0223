// Package tc puts a program where the stack of an interface takes packets up or hands them over: by a tcx link where the
// kernel has those (since Linux 6.6), else by a filter of the clsact qdisc. Programs of others, on either, stay and keep
// their order: a link goes after theirs, or before them, a filter has a priority and a handle of its own.
//
// A link ends with the process that holds it, unless it is pinned. A filter stays until it is taken off, by
// [Attachment.Close], or by who opens it again ([Open], or [Attach] with the same priority). A filter belongs to the
// network namespace of the thread that calls, as the names and numbers of interfaces do.
package tc
