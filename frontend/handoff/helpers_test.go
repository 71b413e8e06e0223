package handoff

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

func openBackend(t *testing.T, s *server.Server, kind Mode, pool int) (*Backend, error) {
	t.Helper()
	b, err := Open(t.Context(), Config{Server: s.Addr(), Mode: kind, Pool: pool, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Cleanup(b.Close)
	}
	return b, err
}

func newHello(port uint16) Hello {
	var h Hello
	h.Random = new([32]byte)
	h.Version = 0xfefd
	h.Binding = cookie.Binding{Source: netip.MustParseAddr("192.0.2.1").As16(), SourcePort: port, DestinationPort: 4433, Version: 0xfefd, Random: h.Random}
	return h
}

func keyring(t *testing.T, texts ...byte) *cookie.Keyring {
	t.Helper()
	var k *cookie.Keyring
	for i, c := range texts {
		s := cookie.Secret{c, 1}
		if k == nil {
			k = cookie.NewKeyring(s, uint8(i))
			continue
		}
		var err error
		if k, err = k.Next(s, uint8(i)); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// answer verifies a first ClientHello and returns the cookie it gets.
func answer(t *testing.T, m Verifier, k *cookie.Keyring, h Hello) []byte {
	t.Helper()
	hs := []Hello{h}
	m.Verify(k, hs)
	if hs[0].Verified || hs[0].Length == 0 {
		t.Fatalf("a first ClientHello gives %+v", hs[0])
	}
	return append([]byte(nil), hs[0].Answer[:hs[0].Length]...)
}

// take takes the place of a verified client, nil if it is not to be had.
func take(t *testing.T, v *Hello) *relay.Upstream {
	t.Helper()
	if !v.Verified {
		return nil
	}
	up, err := v.Place.Open()
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func verdict(m Verifier, k *cookie.Keyring, h Hello, c []byte) Hello {
	h.Cookie = c
	hs := []Hello{h}
	m.Verify(k, hs)
	return hs[0]
}

// acceptTime is how long a server may take to accept a cookie, on a busy machine.
const acceptTime = 5 * time.Second

// accepted reports whether the server accepts the cookie of q from up within the given time. It skips late answers to the
// pool's own questions, which ask for a cookie, as a refusal does.
func accepted(t *testing.T, b *Backend, up *relay.Upstream, q *hello.Probe, within time.Duration) bool {
	t.Helper()
	a, err := b.prober.ask(t.Context(), up.Conn, within, q.Append(nil))
	for err == nil && a.cookie != nil {
		var d []byte
		if d, err = b.prober.exchange(t.Context(), up.Conn, answerTime); err == nil {
			a = readReply(d)
		}
	}
	return err == nil && a.hello
}
