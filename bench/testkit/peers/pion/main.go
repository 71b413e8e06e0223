// Command pion is a DTLS server on github.com/pion/dtls as its documentation has it: each address that sends a
// ClientHello is a connection with a cookie of its own, and what a client says is sent back.
//
//	pion ADDRESS PORT CERTIFICATE KEY
//
// A flood would take all memory, since the library keeps a connection for
// each address that it has asked for a cookie: of those whose handshake is not over the newest are kept.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/pion/dtls/v3"
	"golang.org/x/sys/unix"
)

const (
	// halfOpen is how many handshakes may go on at a time: some 100 MB.
	halfOpen = 1024
	// patience is how long a handshake may take.
	patience = 30 * time.Second
	// room is that of the receive buffer in bytes, as the other servers have it.
	room = 8 << 20
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Print("usage: pion ADDRESS PORT CERTIFICATE KEY")
		os.Exit(2)
	}
	log.Fatal(run(os.Args[1:])) // it serves until it cannot
}

// run serves until something fails.
func run(args []string) error {
	address, err := net.ResolveUDPAddr("udp", net.JoinHostPort(args[0], args[1]))
	if err != nil {
		return err
	}
	identity, err := tls.LoadX509KeyPair(args[2], args[3])
	if err != nil {
		return err
	}
	listener, err := dtls.ListenWithOptions("udp", address, dtls.WithCertificates(identity),
		dtls.WithListenConfig(net.ListenConfig{Control: widen}))
	if err != nil {
		return err
	}
	var cancels [halfOpen]context.CancelFunc
	for i := 0; ; i++ {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if oldest := cancels[i%halfOpen]; oldest != nil {
			oldest()
		}
		cancels[i%halfOpen] = cancel
		go serve(ctx, conn.(*dtls.Conn))
	}
}

// widen gives a socket its receive buffer, where the process may.
func widen(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) })
}

// serve sends back what a client says.
func serve(ctx context.Context, conn *dtls.Conn) {
	defer conn.Close()
	if conn.HandshakeContext(ctx) != nil {
		return // a flood has many of these
	}
	fmt.Println("accepted")
	if _, err := io.Copy(conn, conn); err == nil {
		fmt.Println("closed")
	}
}
