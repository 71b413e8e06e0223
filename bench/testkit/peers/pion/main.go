// Command pion is a DTLS server on github.com/pion/dtls, modelled on its documentation: each address that sends a
// ClientHello is a connection with its own cookie, and data is echoed.
//
//	pion ADDRESS PORT CERTIFICATE KEY
//
// The library keeps a connection per address that it has asked for a cookie, so a flood would take all memory: only the
// newest unfinished handshakes are kept.
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
	// halfOpen is the number of handshakes at a time: some 100 MB.
	halfOpen = 1024
	// patience is the timeout of a handshake.
	patience = 30 * time.Second
	// room is the size of the receive buffer in bytes, as in the other servers.
	room = 8 << 20
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Print("usage: pion ADDRESS PORT CERTIFICATE KEY")
		os.Exit(2)
	}
	log.Fatal(run(os.Args[1:])) // returns only on failure
}

// run serves until an error.
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

// widen sets the size of a socket's receive buffer, if the process may.
func widen(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) })
}

// serve echoes a client's data.
func serve(ctx context.Context, conn *dtls.Conn) {
	defer conn.Close()
	if conn.HandshakeContext(ctx) != nil {
		return // frequent in a flood
	}
	fmt.Println("accepted")
	if _, err := io.Copy(conn, conn); err == nil {
		fmt.Println("closed")
	}
}
