package kernels

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/bpf"
)

// drivers are those that the emulator has cards for, with QEMU's name of the card.
var drivers = []struct{ card, name string }{{"virtio-net-pci", "virtio_net"}, {"vmxnet3", "vmxnet3"}, {"e1000e", "e1000e"}}

// placement is where the service's address is: shell scripts that configure the guard's end, whose card is $A, and the
// client's, $B; and the interface that the guard attaches to.
type placement struct {
	name          string
	guard, client string
	attach        func(card string) string
	inside        bool // the guard's end is in a network namespace of its own
}

const (
	address  = "ip addr add 198.18.0.1/24 dev $A; "
	other    = "ip addr add 198.18.0.2/24 dev $B; "
	jumbo    = "ip link set $A mtu 9000; "
	otherToo = "ip link set $B mtu 9000; " + other
	vlan     = "ip link add v10 link $A type vlan id 10; ip link set v10 up; ip addr add 198.18.0.1/24 dev v10; "
	// Strict reverse path filtering: otherwise a host accepts packets to its address from any VLAN and untagged, and an answer that lost its tag
	// would seem to arrive.
	otherVLAN = "ip link add v10 link $B type vlan id 10; ip link set v10 up; ip addr add 198.18.0.2/24 dev v10; " +
		"echo 1 > /proc/sys/net/ipv4/conf/$B/rp_filter; "
	bond = "ip link add bond0 type bond mode active-backup; ip link set $A down; ip link set $A master bond0; " +
		"ip link set bond0 up; ip addr add 198.18.0.1/24 dev bond0; "
	tagsOff = "ethtool -K $A rxvlan off || true; " // the driver of virtio-net never strips tags, and refuses
	cleanup = "ip link del v10; ip link del bond0; ip addr flush dev $A; ip link set $A mtu 1500; echo 0 > /proc/sys/net/ipv4/conf/$A/rp_filter; ethtool -K $A rxvlan on; ip link set $A netns 1; true"
)

// answer is the value of --answer: xdp below a VLAN, since the kernel's answers need the tag, otherwise auto.
func (p *placement) answer() string {
	if strings.Contains(p.name, "below a VLAN") {
		return "xdp"
	}
	return "auto"
}

// card attaches to the card itself, on to a device above it.
func card(name string) string { return name }
func on(device string) func(string) string {
	return func(string) string { return device }
}

var placements = []placement{
	{"MTU 1500", address, other, card, false},
	{"MTU 1500, in a namespace", address, other, card, true},
	{"MTU 9000", jumbo + address, otherToo, card, false},
	{"VLAN device", vlan, otherVLAN, on("v10"), false},
	{"card below a VLAN", vlan, otherVLAN, card, false},
	{"card below a VLAN, `rxvlan off`", tagsOff + vlan, otherVLAN, card, false},
	{"bond", bond, other, on("bond0"), false},
	{"member of a bond", bond, other, card, false},
}

// TestKernelDrivers boots the newest of the kernels with all drivers, with one CPU and queue and with two, and writes what
// works to docs/xdp.md with -update; otherwise it checks that the page agrees.
func TestKernelDrivers(t *testing.T) {
	all := kernels(t)
	k, err := emulator.Find(all[len(all)-1], emulator.Generic)
	if err != nil {
		t.Fatal(err)
	}
	var said [2]string
	t.Run("queues", func(t *testing.T) {
		for i := range said {
			queues := i + 1
			t.Run(fmt.Sprint(queues), func(t *testing.T) {
				t.Parallel()
				m := machine(t, k, "^TestGuestDrivers$")
				m.CPUs = queues
				for _, d := range drivers {
					w := emulator.Wire{Card: d.card}
					if d.name == "virtio_net" { // the other drivers choose the number themselves
						w.Queues = queues
					}
					m.Wires = append(m.Wires, w)
				}
				said[i] = start(t, m)
			})
		}
	})
	if t.Failed() {
		return
	}
	lines := merge(rows(said[0]), rows(said[1]))
	if !driverTable.write(t, lines) && !*update {
		t.Errorf("%s differs from\n%s\n(write it with -update)", page, strings.Join(lines, "\n"))
	}
}

// A client is served over each driver in each placement; the attach mode is printed.
func TestGuestDrivers(t *testing.T) {
	guestOnly(t)
	script(t, "", "", "ip netns add client; ip netns add server; ip netns exec server ip link set lo up") // lo: the guard asks its host's server
	for _, d := range drivers {
		for _, p := range placements {
			t.Run(d.name+"/"+p.name, func(t *testing.T) {
				cards := cardsOf(t, d.name)
				queues, err := filepath.Glob("/sys/class/net/" + cards[0] + "/queues/rx-*")
				if err != nil {
					t.Fatal(err)
				}
				mode, served, said := p.try(t, cards[0], cards[1])
				row{d.name, p.name, fmt.Sprint(len(queues)), mode, served, said}.print()
			})
		}
	}
}

// script runs a shell script in a network namespace, "" for that of the test.
func script(t *testing.T, ns, dev, text string) {
	t.Helper()
	text = `ip() { /bin/ip "$@"; }; ` + text // busybox would run its own ip, which can do less
	cmd := exec.Command("sh", "-ec", text)
	if ns != "" {
		cmd = exec.Command("ip", "netns", "exec", ns, "sh", "-ec", text)
	}
	cmd.Env = append(os.Environ(), "A="+dev, "B="+dev)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("in namespace %q, %s, %s: %v\n%s", ns, dev, text, err, out)
	}
}

// cardsOf waits for the two cards of a driver: they return from a removed namespace after a while.
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

// configure sets up the cards a and b for the placement, until the test ends, and returns the namespace of a.
func (p *placement) configure(t *testing.T, a, b string) (host string) {
	t.Helper()
	const client = "client"
	script(t, "", b, "ip link set $B netns "+client)
	t.Cleanup(func() { script(t, client, b, "set +e; "+cleanup) })
	script(t, client, b, "ip link set $B mtu 1500 up; "+p.client)
	if p.inside {
		host = "server"
		script(t, "", a, "ip link set $A netns "+host)
	}
	t.Cleanup(func() { script(t, host, a, "set +e; "+cleanup) })
	script(t, host, a, "ip link set $A mtu 1500 up; "+p.guard)
	return host
}

// try serves one client in the placement, and returns how the programs were attached, whether the client was served, and
// what check warns of.
func (p *placement) try(t *testing.T, a, b string) (mode, served, said string) {
	t.Helper()
	host := p.configure(t, a, b)
	attach := p.attach(a)
	said = warnings(t, host, attach)
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := services[0]
	server := startBy(t, in(host), "/bin/openssl-server", peers.Arguments(at, id, "trust")...)
	server.Until("it listens", func() bool { return peers.Listens(server.Cmd.Process.Pid, at) })
	dir, err := os.MkdirTemp("", "guard") // others must not be able to write to it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &guard{control: filepath.Join(dir, "control")}
	g.process = startBy(t, in(host), "/bin/dtlsguard", "run", "--metrics-listen", "off", "--control", g.control, "--pin", "off", "--protect", at.String(),
		"--handoff", "trust", "--answer", p.answer(), "--interface", attach, "--allow-unguarded")
	g.Until("the guard is ready", func() bool {
		s, err := g.ask()
		return err == nil && s.Ready
	})
	mode, served = g.status().XDP.Interfaces[0].Mode, "yes"
	c := &client{startBy(t, in("client"), "openssl", "s_client", "-brief", "-dtls1_2", "-connect", at.String())}
	if !c.reaches(serving) {
		served = "no"
	}
	if v := g.status().XDP.Verdicts; served == "yes" && v["answered"]+v["steered"] == 0 {
		served = "by the server directly: XDP saw nothing"
	}
	g.stop()
	return mode, served, said
}

// in returns a function that starts programs in a network namespace, "" for that of the test.
func in(ns string) func(*exec.Cmd) error {
	return func(c *exec.Cmd) error {
		if ns != "" {
			c.Args = append([]string{"ip", "netns", "exec", ns}, c.Args...)
			c.Path, _ = exec.LookPath("ip")
		}
		return c.Start()
	}
}

// serving is the time after which a client counts as not served. On an idle host it takes a second or two.
const serving = 30 * time.Second

// reaches reports whether the client's first line is echoed in time.
func (c *client) reaches(limit time.Duration) bool {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		_, _ = c.Stdin.Write([]byte("hello\n"))
		if strings.Contains(c.Text(), "hello\n") {
			return true
		}
	}
	return false
}

// ofTheMachine are findings unrelated to a driver: the emulated machine has two CPUs for one queue.
var ofTheMachine = []string{"queues"}

// warnings returns the names of check's warnings of an interface in a network namespace. It calls the probes directly, because
// the command loads all programs each time.
func warnings(t *testing.T, ns, iface string) string {
	t.Helper()
	var names []string
	within(t, ns, func() {
		for _, f := range slices.Concat(bpf.ProbeInterface(iface), bpf.ProbeAttach(iface)) {
			if f.Level != bpf.Pass && !slices.Contains(ofTheMachine, f.Name) {
				names = append(names, f.Name)
			}
		}
	})
	return strings.Join(names, ", ")
}

// within calls f in a network namespace, "" for that of the test.
func within(t *testing.T, ns string, f func()) {
	t.Helper()
	if ns == "" {
		f()
		return
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with this function
		h, err := netns.GetFromName(ns)
		if err == nil {
			err = errors.Join(netns.Set(h), h.Close())
		}
		if err == nil {
			f()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}
