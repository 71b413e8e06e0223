// Package handover moves what a guard holds to the process that takes its place: open files by SCM_RIGHTS, and the state that
// goes with them as one blob, over a unix socket of type SOCK_SEQPACKET.
//
// A parcel is a header, which says the format's version and how much follows, the blob in a memfd, and the files. The socket
// can be one that both processes hold, or one whose queue outlives the sender: what is queued there waits in the kernel, open
// files included, until somebody reads it or the last copy of the socket is closed.
package handover
