package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A reload adds a service behind XDP, and takes it away again, after the guard has given up its privileges; an association
// with the other service does not notice.
func TestReload(t *testing.T) {
	p := newPlace(t)
	for _, a := range public {
		startServer(t, p.Middle, a)
	}
	file := filepath.Join(t.TempDir(), "guard.toml")
	protect := func(n int) {
		var b strings.Builder
		for _, a := range public[:n] {
			fmt.Fprintf(&b, "[[service]]\nprotect = \"%v\"\nunverified = \"drop\"\n", a)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	protect(1)
	g := p.run("--config", file)
	s := openStream(t, p, public[0])
	protect(2)
	g.signal(syscall.SIGHUP)
	g.expect("added: ")
	g.ready()
	newAsker(t, p, public[1]).until(guardCookie, "from the service that was added")
	c := openssl()(t, p.Lab, public[1])
	c.ping("through the service that was added")
	c.close()
	s.flows("while another service was added")
	protect(1)
	g.signal(syscall.SIGHUP)
	g.expect("removed: ")
	g.until("the service is gone", func() bool { st, err := g.ask(); return err == nil && len(st.Services) == 1 })
	s.flows("while another service was removed")
	g.stop()
	p.free()
	s.check(3)
}
