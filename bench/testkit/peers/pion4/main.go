// Command pion4 is a DTLS server on github.com/pion/dtls/v4, modelled on its documentation: each address that sends a
// ClientHello is a connection, and data is echoed.
//
//	pion4 ADDRESS PORT CERTIFICATE KEY [13]
//
// It speaks DTLS 1.2 and 1.3; with 13 only DTLS 1.3.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/pion/dtls/v4"
	"github.com/pion/dtls/v4/pkg/protocol"
)

// patience is the timeout of a handshake.
const patience = 30 * time.Second

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Print("usage: pion4 ADDRESS PORT CERTIFICATE KEY [13]")
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
	least := protocol.Version1_2
	if len(args) > 4 && args[4] == "13" {
		least = protocol.Version1_3
	}
	listener, err := dtls.ListenAddr("udp", address, dtls.WithCertificates(identity), dtls.WithMinVersion(least))
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(conn.(*dtls.Conn))
	}
}

// serve echoes a client's data.
func serve(conn *dtls.Conn) {
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if conn.HandshakeContext(ctx) != nil {
		return
	}
	fmt.Println("accepted")
	if _, err := io.Copy(conn, conn); err == nil {
		fmt.Println("closed")
	}
}
