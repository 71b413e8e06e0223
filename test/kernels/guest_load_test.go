package kernels

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bpf"
)

// objects is the directory of the module's BPF objects in the guest.
const objects = "/objects"

func guestOnly(t *testing.T) {
	t.Helper()
	if os.Getenv(inGuest) == "" {
		t.Skip("runs in the emulator: go test -run 'Kernel$' -kernel 6.12")
	}
}

// The verifier accepts every program of every object. Each is loaded by itself, so that all refusals show at once.
func TestGuestVerifier(t *testing.T) {
	guestOnly(t)
	files, err := filepath.Glob(objects + "/*.o")
	if err != nil || len(files) == 0 {
		t.Fatalf("no objects: %v", err)
	}
	for _, file := range files {
		spec, err := ebpf.LoadCollectionSpec(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range spec.Maps {
			if m.Type == ebpf.CPUMap { // its size must not exceed the number of CPUs
				m.MaxEntries = 1
			}
		}
		for name, p := range spec.Programs {
			if p.Type == ebpf.XDP && name == "dtlsguard" {
				frags := p.Copy()
				frags.Flags |= unix.BPF_F_XDP_HAS_FRAGS
				spec.Programs[name+"_frags"] = frags
			}
		}
		for name := range spec.Programs {
			t.Run(strings.TrimSuffix(filepath.Base(file), "_bpfel.o")+"/"+name, func(t *testing.T) { load(t, spec, name) })
		}
	}
}

// load loads one program of spec.
func load(t *testing.T, spec *ebpf.CollectionSpec, name string) {
	t.Helper()
	spec = spec.Copy()
	for other := range spec.Programs {
		if other != name {
			delete(spec.Programs, other)
		}
	}
	o := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}}
	c, err := ebpf.NewCollectionWithOptions(spec, o)
	if err == nil {
		defer c.Close()
		t.Log(strings.ReplaceAll(strings.TrimSpace(c.Programs[name].VerifierLog), "\n", "; "))
		info, err := c.Programs[name].Info()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := info.VerifiedInstructions(); ok && n > bpf.MostVerified {
			t.Errorf("%d instructions verified, %d at most", n, bpf.MostVerified)
		}
		return
	}
	o.Programs.LogLevel, o.Programs.LogSizeStart = ebpf.LogLevelBranch, 64<<20
	_, err = ebpf.NewCollectionWithOptions(spec, o)
	t.Error(explain(err))
}

// explain adds the end of the verifier's log.
func explain(err error) error {
	const most = 30 // lines
	var refused *ebpf.VerifierError
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%w\n%s", err, strings.Join(refused.Log[max(0, len(refused.Log)-most):], "\n"))
}

// costMark begins the line with a program's cost: name, instructions verified, stack of the largest function.
const costMark = "COST "

// The guard's programs load with their constants set; their costs are printed.
func TestGuestCosts(t *testing.T) {
	guestOnly(t)
	costs, err := bpf.Costs()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range costs {
		t.Logf("%-14s %6d instructions verified, stack %s", c.Program, c.Verified, c.Stack)
		largest := 0
		for function := range strings.SplitSeq(c.Stack, "+") {
			n, err := strconv.Atoi(function)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, n)
		}
		fmt.Println(costMark, c.Program, c.Verified, largest)
	}
}

// costLine is a kernel's line of the table of costs.
func costLine(release, output string) string {
	cells := make(map[string]string)
	for line := range strings.Lines(output) {
		_, text, _ := strings.Cut(line, costMark)
		if f := strings.Fields(text); len(f) == 3 {
			cells[f[0]] = fmt.Sprintf("%s, %s B", f[1], f[2])
		}
	}
	version, _, _ := strings.Cut(release, "-")
	line := "| " + version + " |"
	for _, name := range []string{"dtlsguard", "egress", "ingress", "select_worker", "trust_tcp"} {
		line += " " + cells[name] + " |"
	}
	return line
}

// The generator loads with one template and with several, and with the program that carries other datagrams along; and
// so does the counter of answers.
func TestGuestGenerator(t *testing.T) {
	guestOnly(t)
	const near, far = "flood0", "flood1"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far}); err != nil {
		t.Fatal(err)
	}
	dev, err := net.InterfaceByName(near)
	if err != nil {
		t.Fatal(err)
	}
	flow := traffic.Flow{Interface: dev, Peer: dev.HardwareAddr, Sources: netip.MustParsePrefix("198.18.0.0/24"),
		Destination: netip.MustParseAddrPort("198.18.1.1:4433")}
	for _, c := range []struct {
		mix   string
		carry bool
	}{{"hello", false}, {"hello=1,junk=1", false}, {"hello", true}} {
		mix, err := traffic.ParseMix(c.mix, nil)
		if err != nil {
			t.Fatal(err)
		}
		g, err := xdp.NewMix(flow, mix, xdp.Options{Carry: c.carry})
		if err != nil {
			t.Errorf("%+v: %v", c, explain(err))
			continue
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, at := range map[string]xdp.At{"driver": xdp.Driver, "stack": xdp.Stack} {
		c, err := xdp.Count(flow, at)
		if err != nil {
			t.Errorf("counter in the %s: %v", name, err)
			continue
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
