package lab

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// Flows of a server that keeps its port are the kernel's: a client is listed with its state, and can be ended.
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
		t.Errorf("listed as %+v, want the client, established, and nothing that the kernel does not know", f)
	}
	if said := output(t, p.Middle, program(), "flows", "kill", f.Client.String(), "--control", p.control); said != "1 flows ended\n" {
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
