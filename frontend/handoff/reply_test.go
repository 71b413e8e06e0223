package handoff

import (
	"bytes"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// FuzzReply looks for what a server can send that stops the guard, while it is probed and before a handshake.
func FuzzReply(f *testing.F) {
	f.Add(retryWith(0x1302))
	f.Add(retryWith(0x1302)[:27])
	f.Add([]byte{22, 254, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 3, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 3, 254, 255, 0})
	client := hellotest.New()
	f.Fuzz(func(t *testing.T, d []byte) {
		_ = readReply(d)
		if r, ok := hello.ReadRetry(d); ok {
			_ = cookieSuite(r.Cookie)
		}
		for _, p := range []relay.PreHandshake{new(replaying), new(doubling), passing{}} {
			q := udpbatch.NewQueue(relay.PreHandshakeCap)
			p.Client(client.Bytes(), q)
			if _, ok := hello.HelloVerifyCookie(d); ok {
				p.Verify(bytes.Clone(d), q)
			}
			p.Server(bytes.Clone(d))
		}
	})
}
