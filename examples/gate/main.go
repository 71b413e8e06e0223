// Command gate is a Go program that computes dtlsguard's cookies itself (--handoff native-hmac) before it lets a client
// through to its DTLS stack, here any server that accepts every cookie and that only the gate can reach.
//
//	go run ./examples/gate -listen 127.0.0.1:4434 -server 127.0.0.1:4435 -secret-file secrets
//	dtlsguard run --listen :4433 --backend 127.0.0.1:4434 --handoff native-hmac --secret-file secrets
//
// Its DTLS stack cannot be Pion (v3.1), which draws the cookie of each connection at random, has no hook for another
// one, and accepts no handshake that begins with message_seq 1.
package main

import (
	"flag"
	"log"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// idle is how long a silent client is kept.
const idle = 5 * time.Minute

type gate struct {
	conn   *net.UDPConn
	port   uint16
	server *net.UDPAddr
	file   string

	seen os.FileInfo // the secret file as it was read
	ring *cookie.Keyring

	mu      sync.Mutex
	clients map[netip.AddrPort]*net.UDPConn
}

// read reads the secret file if it has changed since the last time.
func (g *gate) read() error {
	info, err := os.Stat(g.file)
	if err != nil {
		return err
	}
	if g.seen != nil && os.SameFile(info, g.seen) && info.ModTime().Equal(g.seen.ModTime()) {
		return nil
	}
	f, err := os.Open(g.file)
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := cookie.ParseSecrets(f)
	if err != nil {
		return err
	}
	ring, err := cookie.Shared(list)
	if err == nil {
		g.ring, g.seen = ring, info
	}
	return err
}

// take answers a client's datagram, relays it or drops it.
func (g *gate) take(d []byte, from netip.AddrPort) {
	g.mu.Lock()
	to := g.clients[from]
	g.mu.Unlock()
	var h hello.ClientHello
	if hello.Parse(d, &h) == hello.OK {
		if err := g.read(); err != nil {
			log.Printf("secrets: %v; keeping the previous ones", err)
		}
		b := cookie.Bind(from, g.port, h.Version, h.Random)
		if !g.ring.Verify(&b, h.Cookie) { // a client that bypasses dtlsguard, or dtlsguard's probe
			c := g.ring.Current().Issue(&b)
			if n := hello.PutHelloVerify(d, c[:]); n > 0 {
				_, _ = g.conn.WriteToUDPAddrPort(d[:n], from)
			}
			return
		}
		if to == nil {
			to = g.open(from)
		}
	}
	if to != nil {
		_, _ = to.Write(d)
	}
}

// open connects a verified client to the server.
func (g *gate) open(client netip.AddrPort) *net.UDPConn {
	to, err := net.DialUDP("udp", nil, g.server)
	if err != nil {
		log.Print(err)
		return nil
	}
	log.Printf("verified %v", client)
	g.mu.Lock()
	g.clients[client] = to
	g.mu.Unlock()
	go func() {
		defer to.Close()
		for d := make([]byte, 1<<16); ; {
			_ = to.SetReadDeadline(time.Now().Add(idle))
			n, err := to.Read(d)
			if err != nil {
				break
			}
			_, _ = g.conn.WriteToUDPAddrPort(d[:n], client)
		}
		g.mu.Lock()
		delete(g.clients, client)
		g.mu.Unlock()
	}()
	return to
}

// run serves until an error.
func run() error {
	g := &gate{clients: make(map[netip.AddrPort]*net.UDPConn)}
	listen := flag.String("listen", "127.0.0.1:4434", "`address` that dtlsguard hands clients over to")
	server := flag.String("server", "127.0.0.1:4435", "`address` of a DTLS server that accepts every cookie")
	flag.StringVar(&g.file, "secret-file", "secrets", "dtlsguard's --secret-file")
	flag.Parse()
	at, err := netip.ParseAddrPort(*listen)
	if err != nil {
		return err
	}
	if g.server, err = net.ResolveUDPAddr("udp", *server); err != nil {
		return err
	}
	if err := g.read(); err != nil {
		return err
	}
	if g.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
		return err
	}
	g.port = at.Port()
	for d := make([]byte, 1<<16); ; {
		n, from, err := g.conn.ReadFromUDPAddrPort(d)
		if err != nil {
			return err
		}
		g.take(d[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
	}
}

func main() {
	log.Fatal(run())
}
