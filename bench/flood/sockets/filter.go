package sockets

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
)

// answersOnly is a filter for a packet socket that passes UDP from f's destination.
func answersOnly(f *traffic.Flow) ([]unix.SockFilter, error) {
	l := f.Layout()
	address := f.Destination.Addr().AsSlice()
	from := l.DestAt + 4 - 2*len(address) // of the answer's source address
	const ethernet, protocolAt4, protocolAt6 = 14, 9, 6
	var checks []bpf.Instruction // each value is loaded and compared with the next
	want := func(at, size int, value uint32) {
		checks = append(checks, bpf.LoadAbsolute{Off: uint32(at), Size: size}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1}, bpf.RetConstant{})
	}
	if f.Destination.Addr().Is4() {
		const noOptions = 0x45
		want(ethernet, 1, noOptions)
		want(ethernet+protocolAt4, 1, unix.IPPROTO_UDP)
	} else {
		want(ethernet+protocolAt6, 1, unix.IPPROTO_UDP)
	}
	for i := 0; i < len(address); i += 4 {
		want(from+i, 4, binary.BigEndian.Uint32(address[i:]))
	}
	want(l.UDPAt, 2, uint32(f.Destination.Port()))
	const whole = 1 << 18
	raw, err := bpf.Assemble(append(checks, bpf.RetConstant{Val: whole}))
	if err != nil {
		return nil, err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return program, nil
}
