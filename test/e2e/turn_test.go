package e2e

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// binding is a STUN Binding request (RFC 8489 section 5) with a transaction ID, and the part of the answer that repeats it. It
// ends with the end of a line, for clients that send lines.
func binding(number int) (request, answer string) {
	answer = "\x21\x12\xa4\x42" + fmt.Sprintf("ping %6d", number)
	return "\x00\x01\x00\x00" + answer, answer + "\n"
}

// TestMatrixTurnAtOnce: many clients at once reach coturn, whose cookies are valid for one connection each, and it answers them.
// gnutls-cli only does the handshake: it does not send what begins with a zero byte.
//
// The pool is the largest for coturn: of 64 ports one of 20 clients at once loses its own in every 30th run, and OpenSSL, on which
// coturn is built, refuses its third ClientHello; of 512 ports in one run of 100 000 (see choices in
// frontend/handoff/portmap.go).
func TestMatrixTurnAtOnce(t *testing.T) {
	if !*matrix {
		t.Skip("run by make test-matrix: it needs coturn")
	}
	t.Parallel()
	s := recipe(t, coturn, address("127.0.0.1", freePort(t)))
	g := startGuard(t, s.addr, func(c *frontend.Config) { c.HarvestPool = 512 })
	if got := g.Status().Services[0].Backends[0].Handoff; got != "harvest" {
		t.Fatalf("hand-off %s, want harvest", got)
	}
	gnutls()(t, g.addr).(*gnutlsClient).expect("Handshake was completed")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := dialPion(t, g.addr, patience)
			if err != nil {
				t.Errorf("pion %d: %v", i, err)
				return
			}
			c.exchange(binding(1 + i))
			c.close()
		})
	}
	wg.Wait()
}
