package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

var (
	matrix  = flag.Bool("matrix", false, "run every client against every server: make test-matrix")
	foreign = flag.Bool("foreign", false, "run clients and servers that need a runtime: make test-foreign")
	update  = flag.Bool("update", false, "with -matrix, -foreign or -loss: write the table in docs anew")
)

// row is a server in a configuration, behind the guard in a mode: a row of the matrix in docs/servers.md.
type row struct {
	server  string // its name for people
	library string // whose version is shown: a key of versions
	command string // of a server program: the line that is run, but for addresses and files (recipe)
	config  string // of a server of our own, or what else the configuration needs
	mode    string // --handoff: auto unless it must be set
	becomes string // the mode that auto chooses
	limits  string // what does not work, and why

	start   starter // for servers of our own
	single  bool    // it serves one client per start
	foreign bool    // it needs a runtime, or its clients do
	pool    int     // --harvest-pool; 0: any
	secret  bool    // guard and server share a --secret-file
	clients []string
	fails   []string // clients that are not served behind the guard, and end with an error
	alone   []string // clients that the server does not serve without a guard either
	hosts   []string // nil: IPv4 only
	refused string   // the guard's error if it does not start; "" if it does
	// talk is what a client sends, by number, and the answer; nil: the server echoes.
	talk func(number int) (line, answer string)
}

// configuration of server and guard, to the letter.
func (r *row) configuration() string {
	var parts, flags []string
	if r.command != "" {
		parts = append(parts, "`"+r.command+"`")
	}
	if r.config != "" {
		parts = append(parts, r.config)
	}
	if r.mode != "auto" {
		flags = append(flags, "--handoff "+r.mode)
	}
	if r.secret {
		flags = append(flags, "--secret-file FILE")
	}
	if r.pool > 0 {
		flags = append(flags, "--harvest-pool "+strconv.Itoa(r.pool))
	}
	if len(flags) > 0 {
		parts = append(parts, "guard: `"+strings.Join(flags, " ")+"`")
	}
	return strings.Join(parts, "; ")
}

// serve starts the row's server.
func (r *row) serve(t *testing.T, addr netip.AddrPort, secretFile string) *server {
	t.Helper()
	if r.command != "" {
		return recipe(t, r.command, addr)
	}
	return r.start(t, addr, secretFile)
}

// handoff is the mode in use.
func (r *row) handoff() string {
	if r.becomes != "" {
		return r.becomes
	}
	return r.mode
}

// TestMatrix runs every pair of client and server of the matrix, and checks that docs/servers.md agrees.
func TestMatrix(t *testing.T) {
	if !*matrix {
		t.Skip("run by make test-matrix: it needs servers that other tests do not")
	}
	runMatrix(t, false)
}

// TestForeign runs the pairs of the matrix in which client or server needs a runtime: Erlang, Java, Godot, node.
func TestForeign(t *testing.T) {
	if !*foreign {
		t.Skip("run by make test-foreign: it needs runtimes that other tests do not")
	}
	runMatrix(t, true)
}

// runMatrix runs the pairs of which either is foreign, or the others.
func runMatrix(t *testing.T, foreign bool) {
	t.Cleanup(func() {
		if !t.Failed() {
			checkPage(t)
		}
	})
	for i := range rows {
		r := rows[i].pairs(foreign)
		if len(r.clients)+len(r.fails)+len(r.alone) == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(r.server+" "+r.handoff(), " ", "_"), func(t *testing.T) {
			t.Parallel()
			for _, host := range slices.Concat([]string{hosts[0]}, r.hosts) {
				t.Run(host, func(t *testing.T) { t.Parallel(); r.run(t, host) })
			}
		})
	}
}

// pairs returns the row with those clients alone with which it is a foreign pair, or with the others. Foreign peers are tried
// over IPv4.
func (r *row) pairs(foreign bool) *row {
	part := *r
	others := func(client string) bool { return (r.foreign || isForeign(client)) != foreign }
	for _, list := range []*[]string{&part.clients, &part.fails, &part.alone} {
		*list = slices.DeleteFunc(slices.Clone(*list), others)
	}
	if part.foreign = foreign; foreign {
		part.hosts = nil
	}
	return &part
}

func (r *row) run(t *testing.T, host string) {
	switch {
	case r.refused != "":
		r.refuse(t, host)
	case r.single:
		one := *r
		one.fails, one.alone = nil, nil
		for _, c := range r.clients {
			t.Run(c, func(t *testing.T) { t.Parallel(); one.converse(t, host, c) })
		}
		if len(r.fails)+len(r.alone) > 0 {
			t.Run("others", func(t *testing.T) { t.Parallel(); r.converse(t, host) })
		}
	default:
		r.converse(t, host, r.clients...)
	}
}

// secrets writes a --secret-file if guard and server share one.
func (r *row) secrets(t *testing.T) string {
	t.Helper()
	if !r.secret {
		return ""
	}
	const line = "5f8c1e0a92d7b3466e21c9f05ad3874b1d60e8f7a2394cb5de0718f46b9a2c53\n"
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// roomy is the size of a pool where any size will do. Of 32 ports one of six clients at once loses its own in every
// 2000th run of a row, and servers that count messages refuse its third ClientHello; of 128 ports in three of a
// million (see choices in frontend/handoff/portmap.go). All rows at once have some 80 guards, and each port is a descriptor.
const roomy = 128

// configure sets the configuration of a guard in front of the row's server.
func (r *row) configure(t *testing.T, c *frontend.Config, secretFile string) {
	t.Helper()
	kind, err := handoff.ParseMode(r.mode)
	if err != nil {
		t.Fatal(err)
	}
	c.Handoff, c.SecretFile = kind, secretFile
	c.HarvestPool = cmp.Or(r.pool, roomy)
}

// refuse checks the guard's reason for not serving the server.
func (r *row) refuse(t *testing.T, host string) {
	secretFile := r.secrets(t)
	s := r.serve(t, address(host, freePort(t)), secretFile)
	c := frontend.Config{
		Services: []frontend.Service{{Listen: address(host, 0), Backends: frontend.At(s.addr)}},
		Settings: frontend.Settings{HelloRate: limit.Rate{PerSecond: -1}}, Cookies: cookie.Measured(),
	}
	r.configure(t, &c, secretFile)
	if why := refusal(t, c); !strings.Contains(why, r.refused) {
		t.Errorf("the guard in front of %s says %q, want %q", r.server, why, r.refused)
	}
}

// vain is how long an unserved client may try: its first two retransmissions, after 1 s and 2 s more (RFC 6347
// section 4.2.4.1), and the time to answer them.
const vain = 5 * time.Second

// unserved lets a client try for a while, and checks that it gets no answer. The client has
// ended when this returns.
func unserved(t *testing.T, name string, addr netip.AddrPort, within time.Duration) *program {
	t.Helper()
	c, ok := matrixClients[name].dial(t, addr).(interface{ self() *program })
	if !ok {
		t.Fatalf("%s is not a program", name)
	}
	p := c.self()
	_, _ = io.WriteString(p.stdin, "ping in vain\n") // it may have ended already
	select {
	case <-p.exited:
	case <-time.After(within):
	}
	p.stop()
	if p.says("ping in vain") {
		t.Errorf("%s is served, but the matrix says that it cannot be", name)
	}
	return p
}

// converse starts the server and a guard, and lets all clients talk to it at the same time.
func (r *row) converse(t *testing.T, host string, clients ...string) {
	secretFile := r.secrets(t)
	s := r.serve(t, address(host, freePort(t)), secretFile)
	g := startGuard(t, s.addr, func(c *frontend.Config) { r.configure(t, c, secretFile) })
	if got := g.Status().Services[0].Backends[0].Handoff; got != r.handoff() {
		t.Errorf("hand-off %s, want %s", got, r.handoff())
	}
	t.Cleanup(func() {
		if t.Failed() {
			counts := make(map[string]uint64)
			for e, n := range g.Totals().Events {
				if l := metrics.Labels[e]; n > 0 {
					counts[l.Stage+" "+l.Outcome+" "+l.Reason] = n
				}
			}
			t.Logf("guard: %+v, %v", g.Status().Services[0].Backends[0], counts)
		}
	})
	if r.handoff() == "reset" && !r.single && len(clients) > 0 { // the address of the first is that of all
		firstAttempts[clients[0]](t, g.addr)
	}
	t.Run("clients", func(t *testing.T) { // returns when all have ended
		for i, name := range clients {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if r.handoff() == "reset" && r.single {
					firstAttempts[name](t, g.addr)
				}
				c := matrixClients[name].dial(t, g.addr)
				for _, number := range []int{2 * i, 2*i + 1} {
					if r.talk == nil {
						c.ping(fmt.Sprint("ping ", number, " of ", name))
					} else {
						c.exchange(r.talk(number))
					}
				}
				c.close()
			})
		}
		for _, name := range r.fails {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if c := unserved(t, name, g.addr, 20*time.Second); c.err == nil {
					t.Errorf("%s reports no error, but the matrix says that it does", name)
				}
			})
		}
		for where, addr := range map[string]netip.AddrPort{"guard": g.addr, "server": s.addr} {
			for _, name := range r.alone {
				t.Run(name+" to the "+where, func(t *testing.T) {
					t.Parallel()
					unserved(t, name, addr, vain)
				})
			}
		}
	})
	if n := g.count(metrics.Verified); n < uint64(len(clients)) {
		t.Errorf("%d verified ClientHellos of %d clients", n, len(clients))
	}
	if n := g.count(metrics.Finished); n < uint64(len(clients)) {
		t.Errorf("%d finished handshakes of %d clients are counted", n, len(clients))
	}
	if s.closed != "" && !r.foreign { // not every library of those tells the other side
		eventually(t, "all clients have closed", func() bool { return strings.Count(s.text(), s.closed) >= len(clients) })
	}
}
