package kernels

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// drivers are those that the emulator has cards for, by the name that QEMU has for the card.
var drivers = []struct{ card, name string }{{"virtio-net-pci", "virtio_net"}, {"vmxnet3", "vmxnet3"}, {"e1000e", "e1000e"}}

// placement is a way to have the service's address on a card: what it takes at the guard's end and at the client's, whose
// cards are A and B, and the interface that the guard is attached to. The service's end is in a network namespace of its
// own where inside is set.
type placement struct {
	name         string
	guard, other []string
	attach       string
	inside       bool
}

var placements = []placement{
	{"MTU 1500", []string{"ip addr add 198.18.0.1/24 dev A"}, []string{"ip addr add 198.18.0.2/24 dev B"}, "A", false},
	{"MTU 1500, in a namespace", []string{"ip addr add 198.18.0.1/24 dev A"}, []string{"ip addr add 198.18.0.2/24 dev B"}, "A", true},
	{"MTU 9000", []string{"ip link set A mtu 9000", "ip addr add 198.18.0.1/24 dev A"}, []string{"ip addr add 198.18.0.2/24 dev B"}, "A", false},
	{"on a VLAN", []string{"ip link add A.10 link A type vlan id 10", "ip link set A.10 up", "ip addr add 198.18.0.1/24 dev A.10"},
		[]string{"ip link add B.10 link B type vlan id 10", "ip link set B.10 up", "ip addr add 198.18.0.2/24 dev B.10"}, "A.10", false},
	{"below a VLAN", []string{"ip link add A.10 link A type vlan id 10", "ip link set A.10 up", "ip addr add 198.18.0.1/24 dev A.10"},
		[]string{"ip link add B.10 link B type vlan id 10", "ip link set B.10 up", "ip addr add 198.18.0.2/24 dev B.10"}, "A", false},
	{"on a bond", []string{"ip link add bond0 type bond mode active-backup", "ip link set A down", "ip link set A master bond0", "ip link set bond0 up",
		"ip addr add 198.18.0.1/24 dev bond0"}, []string{"ip addr add 198.18.0.2/24 dev B"}, "bond0", false},
	{"on a bond's member", []string{"ip link add bond0 type bond mode active-backup", "ip link set A down", "ip link set A master bond0", "ip link set bond0 up",
		"ip addr add 198.18.0.1/24 dev bond0"}, []string{"ip addr add 198.18.0.2/24 dev B"}, "A", false},
}

// rowMark begins a line of the table that the guest prints.
const rowMark = "TABLE "

// TestKernelDrivers boots the newest of the kernels with all drivers and writes what works into docs/xdp.md, with -update;
// else it sees that the page says what works.
func TestKernelDrivers(t *testing.T) {
	all := kernels(t)
	k, err := emulator.Find(all[len(all)-1], emulator.Generic)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, k)
	for _, d := range drivers {
		m.Wires = append(m.Wires, emulator.Wire{Card: d.card})
	}
	m.Run = []string{"/bin/kernels.test", "-test.v", "-test.run", "^TestGuestDrivers$"}
	table := start(t, m)
	var rows []string
	for line := range strings.Lines(table) {
		if _, row, ok := strings.Cut(line, rowMark); ok {
			rows = append(rows, strings.TrimSpace(row))
		}
	}
	writeTable(t, rows)
}

// A client is served over each driver, in each placement, and the way that the programs are attached is told.
func TestGuestDrivers(t *testing.T) {
	guestOnly(t)
	if err := exec.Command("ip", "netns", "add", "client").Run(); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("ip", "netns", "add", "server").Run(); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("ip", "netns", "exec", "server", "ip", "link", "set", "lo", "up").Run(); err != nil { // the guard asks its own host's server
		t.Fatal(err)
	}
	for _, d := range drivers {
		for _, p := range placements {
			t.Run(d.name+"/"+p.name, func(t *testing.T) {
				cards := cardsOf(t, d.name)
				mode, served, said := p.try(t, cards[0], cards[1])
				fmt.Printf("%s| %s | %s | %s | %s | %s |\n", rowMark, d.name, p.name, mode, served, said)
			})
		}
	}
}

// cardsOf waits for the two cards of a driver: they come back from a namespace in the kernel's own time.
func cardsOf(t *testing.T, driver string) (names []string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		names = nil
		links, _ := filepath.Glob("/sys/class/net/*/device/driver")
		for _, l := range links {
			to, err := os.Readlink(l)
			if err == nil && filepath.Base(to) == driver {
				names = append(names, strings.Split(l, "/")[4])
			}
		}
		if len(names) == 2 {
			return names
		}
	}
	t.Fatalf("cards of %s: %v", driver, names)
	return nil
}

// try serves one client in the placement, and returns how the programs were attached, whether the client was served, and
// what check warns of.
func (p *placement) try(t *testing.T, a, b string) (mode, served, said string) {
	t.Helper()
	names := strings.NewReplacer("A.10", a+".10", "B.10", b+".10", " A ", " "+a+" ", " B ", " "+b+" ")
	host := ""
	if p.inside {
		host = "server"
	}
	do := func(ns, line string) {
		t.Helper()
		words := strings.Fields(strings.TrimSpace(names.Replace(line + " ")))
		if ns != "" {
			words = append([]string{"ip", "netns", "exec", ns}, words...)
		}
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", words, err, out)
		}
	}
	do("", "ip link set B netns client")
	do("client", "ip link set B up")
	if host != "" {
		do("", "ip link set A netns "+host)
	}
	do(host, "ip link set A up")
	t.Cleanup(func() {
		for _, line := range []string{"ip link del A.10", "ip link del bond0", "ip addr flush dev A", "ip link set A mtu 1500", "ip link set A netns 1"} {
			words := strings.Fields(strings.TrimSpace(names.Replace(line + " ")))
			if host != "" {
				words = append([]string{"ip", "netns", "exec", host}, words...)
			}
			_ = exec.Command(words[0], words[1:]...).Run()
		}
		for _, line := range []string{"ip link del B.10", "ip addr flush dev B", "ip link set B netns 1"} {
			words := append([]string{"ip", "netns", "exec", "client"}, strings.Fields(strings.TrimSpace(names.Replace(line+" ")))...)
			_ = exec.Command(words[0], words[1:]...).Run()
		}
	})
	for _, line := range p.guard {
		do(host, line)
	}
	for _, line := range p.other {
		do("client", line)
	}
	attach := strings.TrimSpace(names.Replace(" " + p.attach + " "))
	in := func(ns string) func(*exec.Cmd) error {
		return func(c *exec.Cmd) error {
			if ns != "" {
				c.Args = append([]string{"ip", "netns", "exec", ns}, c.Args...)
				c.Path, _ = exec.LookPath("ip")
			}
			return c.Start()
		}
	}
	said = warnings(t, in(host), attach)
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := services[0]
	server := startBy(t, in(host), "/bin/openssl-server", peers.Arguments(at, id, "trust")...)
	server.until("it listens", func() bool { return peers.Listens(server.cmd.Process.Pid, at) })
	dir, err := os.MkdirTemp("", "guard") // one that nobody else can write to
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &guard{control: filepath.Join(dir, "control")}
	g.process = startBy(t, in(host), "/bin/dtlsguard", "run", "--metrics-listen", "off", "--control", g.control, "--pin", "off", "--protect", at.String(),
		"--handoff", "trust", "--interface", attach)
	g.until("the guard is ready", func() bool {
		s, err := g.ask()
		return err == nil && s.Ready
	})
	mode, served = g.status().XDP.Interfaces[0].Mode, "yes"
	c := &client{startBy(t, in("client"), "openssl", "s_client", "-brief", "-dtls1_2", "-connect", at.String())}
	if !c.reaches(15 * time.Second) {
		served = "no"
	}
	if v := g.status().XDP.Verdicts; served == "yes" && v["answered"]+v["steered"] == 0 {
		served = "by the server alone: XDP saw nothing"
	}
	g.stop()
	return mode, served, said
}

// reaches reports whether the client's first line comes back in time.
func (c *client) reaches(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		_, _ = c.stdin.Write([]byte("hello\n"))
		if strings.Contains(c.text(), "hello\n") {
			return true
		}
	}
	return false
}

// warnings are what check has to say of an interface, by the names of its findings.
func warnings(t *testing.T, start func(*exec.Cmd) error, iface string) string {
	t.Helper()
	p := startBy(t, start, "/bin/dtlsguard", "check", "--json", "--interface", iface)
	p.end()
	var report struct {
		Findings []struct{ Level, Name string }
	}
	line, _, _ := strings.Cut(p.text(), "\n")
	if err := json.Unmarshal([]byte(line), &report); err != nil {
		t.Fatalf("%v: %s", err, p.text())
	}
	var names []string
	for _, f := range report.Findings {
		if f.Level != "PASS" && f.Name != "open files" { // of the machine, not of the interface
			names = append(names, f.Name)
		}
	}
	return strings.Join(names, ", ")
}
