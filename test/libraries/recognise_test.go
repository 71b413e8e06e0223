package libraries

import (
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// sharedRing makes the keyring of a list of secrets, as in a secret file.
func sharedRing(t *testing.T, texts ...string) *cookie.Keyring {
	t.Helper()
	var list []cookie.Secret
	for _, text := range texts {
		s, err := cookie.ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	ring, err := cookie.Shared(list)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// otherSecret is a secret that no server of the tests has.
var otherSecret = strings.Repeat("5a5b", 16)

// auto and an explicit mode recognise what a library computes with a shared secret, for IPv4, IPv6 and v4-mapped
// clients, and tell it from another secret, from the second one, and from another library.
func TestRecognisesLibraries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := peers.NewIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(vectorSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, l := range libraries {
		t.Run(l.server, func(t *testing.T) {
			binary, err := peers.Find(l.server).Build(t.TempDir())
			if err != nil && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []struct{ listen, to string }{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"::", "127.0.0.1"}} {
				if l.mode == handoff.NativeQt && at.listen == "::" {
					at.listen = "any"
				}
				t.Run(at.listen, func(t *testing.T) {
					t.Parallel()
					addr := netip.AddrPortFrom(netip.MustParseAddr(at.to), await.FreePort(t))
					args := peers.Arguments(addr, id, file)
					args[0] = at.listen
					cmd := exec.Command(binary, args...)
					cmd.Stderr = t.Output()
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
					l.recognised(t, addr, at.listen != at.to)
				})
			}
		})
	}
}

func (l library) recognised(t *testing.T, server netip.AddrPort, mapped bool) {
	t.Helper()
	other := handoff.NativeHMAC
	for _, c := range []struct {
		name    string
		asked   handoff.Mode
		secrets []string
		err     string
	}{
		{"auto", handoff.Auto, []string{vectorSecret, otherSecret}, ""},
		{"asked for", l.mode, []string{vectorSecret}, ""},
		{"another secret", l.mode, []string{otherSecret}, "with any secret of --secret-file"},
		{"the second secret", l.mode, []string{otherSecret, vectorSecret}, "second secret"},
		{"another library", other, []string{vectorSecret}, "use --handoff " + l.mode.String()},
	} {
		ring := sharedRing(t, c.secrets...)
		b, err := handoff.Open(t.Context(), handoff.Config{
			Server: server, Mode: c.asked, Pool: 4, Log: slog.New(slog.DiscardHandler), Keys: func() *cookie.Keyring { return ring },
		})
		var fit handoff.Fit
		if err == nil {
			b.Close()
			fit, err = handoff.ProbeInline(t.Context(), server, c.asked, ring, 0)
		}
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.err == "" && (b.Mode() != l.mode || fit.Mode != l.mode || fit.Mapped != mapped || !strings.Contains(b.Status().Why, ring.Current().Fingerprint())):
			t.Errorf("%s: mode %v, mapped %v, because %s", c.name, b.Mode(), fit.Mapped, b.Status().Why)
		case c.err != "" && (err == nil || !strings.Contains(hint.Flags(hint.Line(err)+": "+hint.Of(err)), c.err)):
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.err)
		}
	}
}
