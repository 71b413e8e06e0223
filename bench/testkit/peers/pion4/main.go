// Command pion4 is a DTLS server on github.com/pion/dtls/v4 as its documentation has it: each address that sends a
// ClientHello is a connection, and what a client says is sent back.
//
//	pion4 ADDRESS PORT CERTIFICATE KEY [13]
//
// It speaks DTLS 1.2 and 1.3, or with 13 that alone.
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

// patience is how long a handshake may take.
const patience = 30 * time.Second

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Print("usage: pion4 ADDRESS PORT CERTIFICATE KEY [13]")
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

// serve sends back what a client says.
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
