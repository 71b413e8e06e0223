package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// reloader is a guard with a configuration file that a test changes.
type reloader struct {
	*guard
	file string
}

// runFile starts a guard with a configuration file.
func (p *place) runFile(settings string) *reloader {
	p.t.Helper()
	r := &reloader{file: filepath.Join(p.t.TempDir(), "guard.toml")}
	r.write(p.t, settings)
	r.guard = p.run("--config", r.file)
	return r
}

func (r *reloader) write(t *testing.T, settings string) {
	t.Helper()
	if err := os.WriteFile(r.file, []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reload applies other settings, as an operator does, and returns the command's output.
func (r *reloader) reload(settings string) string {
	r.t.Helper()
	r.write(r.t, settings)
	return output(r.t, r.place.Middle, program(), "reload", "--control", r.place.control)
}

// A reload adds a service behind XDP, and removes it again, after the guard has given up its privileges; an association
// with the other service does not notice.
func TestReload(t *testing.T) {
	p := newPlace(t)
	for _, a := range public {
		startServer(t, p.Middle, a)
	}
	protect := func(n int) string {
		var b strings.Builder
		b.WriteString("drain-timeout = \"1s\"\n") // XDP does not see that a session has ended
		for _, a := range public[:n] {
			fmt.Fprintf(&b, "[[service]]\nprotect = \"%v\"\nunverified = \"drop\"\n", a)
		}
		return b.String()
	}
	g := p.runFile(protect(1))
	s := openStream(t, p, public[0])
	g.write(t, protect(2))
	g.signal(syscall.SIGHUP)
	g.Expect("added: ")
	g.ready()
	newAsker(t, p, public[1]).until(guardCookie, "from the service that was added")
	c := openssl()(t, p.Lab, public[1])
	c.ping("through the service that was added")
	c.close()
	s.flows("while another service was added")
	g.reload(protect(1))
	g.Until("the service is gone", func() bool { st, err := g.ask(); return err == nil && len(st.Services) == 1 })
	s.flows("while another service was removed")
	g.stop()
	p.free()
	s.check(3)
}

// When a reload changes where cookie secrets come from, the programs get the new ones: they and the workers honour each other's
// cookies, and the kernel continues to answer.
func TestReloadChangesSecrets(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Server, behind[0])
	settings := func(answer, every string) string {
		return fmt.Sprintf("answer = %q\nrotate-every = %q\n[[service]]\nlisten = \"%v\"\nbackend = \"%v\"\n", answer, every, public[0], behind[0])
	}
	g := p.runFile(settings("xdp", "60s"))
	for i, now := range []string{settings("xdp", "90s"), settings("auto", "100s")} {
		g.reload(now)
		g.ready()
		if s := g.status().Services[0]; s.Answer != "xdp" || s.AnswerWhy != "" {
			t.Errorf("after reload %d answers are made by %s: %s", i, s.Answer, s.AnswerWhy)
		}
		before := g.status().Packets["client"]["answered/wrong-cookie"]
		c := openssl()(t, p.Lab, public[0])
		c.ping("after a reload")
		c.close()
		if wrong := g.status().Packets["client"]["answered/wrong-cookie"]; wrong != before {
			t.Errorf("workers refuse the kernel's cookies: %d", wrong-before)
		}
	}
	g.stop()
	p.free()
}

// A service that one reload removes and the next, right after it, adds again is protected from then on.
func TestReloadTwice(t *testing.T) {
	p := newPlace(t)
	for _, a := range public {
		startServer(t, p.Middle, a)
	}
	stays := fmt.Sprintf("[[service]]\nprotect = \"%v\"\n", public[0])
	both := stays + fmt.Sprintf("[[service]]\nprotect = \"%v\"\n", public[1])
	g := p.runFile(both)
	a := newAsker(t, p, public[1])
	for i := range 4 {
		for _, now := range []string{stays, both} {
			g.write(t, now)
			time.Sleep(time.Duration(i) * 5 * time.Millisecond) // the second reload meets each state of the removed service
			if _, err := frontend.Ask(t.Context(), p.control, "POST", "/reload"); err != nil {
				t.Fatal(err)
			}
		}
		a.until(guardCookie, "from a service that was removed and added again")
	}
	if g.status().XDP == nil {
		t.Error("the programs do not know a service")
	}
	g.stop()
	p.free()
}

// A back end that replaces one with flows gets a pool that the programs can read; a second replacement gets it once
// those flows have ended, and workers issue its cookies until then.
func TestReloadReplacesPools(t *testing.T) {
	p := newPlace(t)
	startPeer(t, p.Server, behind[0], "openssl", "")
	settings := func(rate int) string {
		return fmt.Sprintf("resolve-every = \"1s\"\nharvest-rate = %d\n[[service]]\nlisten = \"%v\"\nbackend = \"%v\"\n", rate, public[0], behind[0])
	}
	g := p.runFile(settings(100_000))
	answered := func(who string, i int) association {
		t.Helper()
		g.Until(fmt.Sprintf("%s answers after %d replacements", who, i), func() bool {
			s, err := g.ask()
			return err == nil && s.Services[0].Answer == who && s.Services[0].Ready
		})
		c := gnutls()(t, p.Lab, public[0])
		c.ping(fmt.Sprintf("after %d replacements", i))
		return c
	}
	for i, who := range []string{"xdp", "xdp", "workers"} {
		if i > 0 {
			g.reload(settings(100_000 + i))
		}
		answered(who, i)
	}
	output(t, p.Middle, program(), "flows", "kill", "--all", "--control", p.control)
	answered("xdp", 3).close()
	g.stop()
	p.free()
}

// A reload that the programs refuse changes nothing and reports the refusal.
func TestReloadRefusedByXDP(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	protect := func(addresses ...string) string {
		var b strings.Builder
		for _, a := range addresses {
			fmt.Fprintf(&b, "[[service]]\nprotect = %q\n", a)
		}
		return b.String()
	}
	own := public[0].String()
	g := p.runFile(protect(own))
	for _, c := range [][]string{{own, "[::]:5000", "0.0.0.0:5000"}, {own, "[::ffff:198.18.0.1]:5000"}} {
		g.write(t, protect(c...))
		if _, err := frontend.Ask(t.Context(), p.control, "POST", "/reload"); err == nil {
			t.Errorf("a reload to %v succeeds", c)
		}
		if s := g.status(); len(s.Services) != 1 || s.XDP == nil || len(s.XDP.Services) != 1 || !s.Ready {
			t.Errorf("after a reload to %v: %+v, XDP: %+v", c, s.Services, s.XDP)
		}
		newAsker(t, p, public[0]).until(guardCookie, "after a refused reload")
	}
	g.reload(protect(own, "[::]:5000"))
	if s := g.status(); len(s.Services) != 2 || s.XDP == nil || len(s.XDP.Services) != 2 {
		t.Errorf("after a valid reload: %+v, XDP: %+v", s.Services, s.XDP)
	}
	g.stop()
	p.free()
}

// An inline service drains like others: its sessions continue, new clients are refused, and the guard runs until the last
// session has ended. Status counts them.
func TestInlineDrains(t *testing.T) {
	p := newPlace(t)
	for _, a := range public {
		startServer(t, p.Middle, a)
	}
	protect := func(n int) (text string) {
		for _, a := range public[:n] {
			text += fmt.Sprintf("[[service]]\nprotect = \"%v\"\nunverified = \"drop\"\n", a)
		}
		return text
	}
	g := p.runFile(protect(2))
	clients := []association{openssl()(t, p.Lab, public[0]), openssl()(t, p.Lab, public[1])}
	for _, c := range clients {
		c.ping("before")
	}
	if s := g.status(); s.Flows != 2 || s.FlowStatus.States["established"] != 2 {
		t.Errorf("status has %d flows, %v, want the two of the kernel", s.Flows, s.FlowStatus.States)
	}
	g.reload(protect(1))
	newAsker(t, p, public[1]).until(0, "while its service drains")
	clients[1].ping("while its service drains")
	if s := g.status(); len(s.Services) != 2 || s.Services[1].Ready {
		t.Errorf("a service with a session was removed, or reports ready: %+v", s.Services)
	}
	end := func(service string) {
		output(t, p.Middle, program(), "flows", "kill", "--all", "--service", service, "--control", p.control)
	}
	end(public[1].String())
	newAsker(t, p, public[1]).until(serverCookie, "after its service was removed")
	if said := output(t, p.Middle, program(), "drain", "--control", p.control); !strings.Contains(said, "1 flows") {
		t.Errorf("drain says %q", said)
	}
	newAsker(t, p, public[0]).until(0, "while the guard drains")
	clients[0].ping("while the guard drains")
	end(public[0].String())
	if status := g.End(); status != 0 {
		t.Errorf("guard: exit status %d", status)
	}
	p.free()
}
