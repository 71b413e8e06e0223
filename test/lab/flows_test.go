package lab

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Flows of an inline server are in the kernel: a client is listed with its state, and its flow can be ended.
func TestInlineFlowsAreListed(t *testing.T) {
	p := newPlace(t)
	shapes["inline"].serve(t, p.Lab)
	g := p.run(inline()...)
	c := openssl()(t, p.Lab, public[0])
	c.ping("once")
	list := func() (all []frontend.Flow) {
		for line := range strings.Lines(output(t, p.Middle, program(), "flows", "--json", "--control", p.control)) {
			var f frontend.Flow
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		return all
	}
	all := list()
	if len(all) == 0 {
		t.Fatal("no flow is listed")
	}
	f := all[0]
	if f.State != "established" || f.Server != public[0] || f.Client.Addr().Is6() || f.Age != nil || f.ToServer != nil || f.Upstream.IsValid() {
		t.Errorf("listed as %+v, want the client, established, and nothing that the kernel cannot know", f)
	}
	if said := output(t, p.Middle, program(), "flows", "kill", f.Client.String(), "--control", p.control); said != "1 flow ended\n" {
		t.Errorf("kill said %q", said)
	}
	for _, f := range list() {
		if f.State == "established" {
			t.Errorf("%v is still listed", f.Client)
		}
	}
	g.stop()
	p.free()
}

// A guard that has become another user, without capabilities and with its filters installed, writes the map log that root opened, and
// follows its rotation.
func TestMapLogRotates(t *testing.T) {
	p := newPlace(t)
	shapes["proxy"].serve(t, p.Lab)
	dir := filepath.Dir(p.control)
	if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "map.jsonl")
	g := p.run(append(proxy(), "--user", "nobody", "--map-log", file)...)
	g.Until("capabilities are dropped", func() bool { return remaining(t, g) == 0 })
	for i, name := range []string{file, file + ".1"} {
		if i == 1 {
			if err := os.Rename(file, name); err != nil {
				t.Fatal(err)
			}
			output(t, p.Middle, program(), "reload", "--control", p.control)
		}
		c := openssl()(t, p.Lab, public[0])
		c.ping("mapped")
		c.close()
		output(t, p.Middle, program(), "flows", "kill", "--all", "--control", p.control)
		g.Until("a flow opened and closed", func() bool {
			b, err := os.ReadFile(file)
			return err == nil && strings.Count(string(b), `"event":"opened"`) == 1 && strings.Count(string(b), `"event":"closed"`) == 1
		})
	}
	g.stop()
	p.free()
}
