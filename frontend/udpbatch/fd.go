package udpbatch

// FromFD takes over a bound, non-blocking socket of any family, for what Send and Recv do with it: datagrams without
// addresses. Routes that come with a Batch of it mean nothing, and routes it is given must be nil.
func FromFD(fd int) *Conn { return &Conn{fd: fd} }
