// Package handover moves what a guard holds to the process that takes its place: open files by SCM_RIGHTS, and the state that
// goes with them as one blob, over a unix socket of type SOCK_SEQPACKET.
//
// A parcel is a header, with the format's version and the sizes of the rest, the blob in a memfd, and the files. Either
// both processes hold the socket, or its queue outlives the sender: queued messages and open files stay in the kernel
// until somebody reads them or the last copy of the socket is closed.
package handover
