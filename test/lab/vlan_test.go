package lab

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// A ClientHello in a VLAN is answered in that VLAN, IPv4 and IPv6. Frames are built and parsed here, since kernels without
// VLAN interfaces have XDP as well.
func TestVLAN(t *testing.T) {
	p := newPlace(t)
	g := p.attach(append(inline(), "--answer", "xdp", "--handoff", "trust")...)
	f := newFlooder(t, p)
	// Packets of every protocol, with the VLAN tags that the kernel strips.
	if err := unix.SetsockoptInt(f.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		t.Fatal(err)
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	if err := unix.Bind(f.fd, &unix.SockaddrLinklayer{Ifindex: f.to.Ifindex, Protocol: all}); err != nil {
		t.Fatal(err)
	}
	timeout := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(f.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	const id = 7
	for family, headers := range []int{14 + 20 + 8, 14 + 40 + 8} {
		frame := f.packet(family, f.datagram(0))
		tagged := append(append(append([]byte(nil), frame[:12]...), 0x81, 0, 0, id), frame[12:]...)
		if err := unix.Sendto(f.fd, tagged, 0, &f.to); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); ; {
			answer, tag := f.receive()
			if len(answer) > headers {
				if c, ok := hello.HelloVerifyCookie(answer[headers:]); ok {
					if tag != id || len(c) != guardCookie {
						t.Errorf("family %d: answer in VLAN %d with a cookie of %d bytes", family, tag, len(c))
					}
					break
				}
			}
			if time.Now().After(end) {
				t.Fatalf("family %d: no answer", family)
			}
		}
	}
	if v := g.status().XDP.Verdicts; v["answered"] != 2 {
		t.Errorf("two ClientHellos: %v", v)
	}
	g.stop()
}

// receive returns the next frame that the client host receives, and its VLAN, 0 for none.
func (f *flooder) receive() (frame []byte, vlan uint16) {
	f.t.Helper()
	frame, oob := make([]byte, 2048), make([]byte, 256)
	n, oobn, _, _, err := unix.Recvmsg(f.fd, frame, oob, 0)
	if err != nil {
		f.t.Fatalf("receive: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range messages {
		// struct tpacket_auxdata: four bytes three times, two twice, then vlan_tci.
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 18 {
			vlan = binary.NativeEndian.Uint16(m.Data[16:])
		}
	}
	return frame[:n], vlan
}
