package bpf

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// Shown with -v: the cost of each program.
func TestCosts(t *testing.T) {
	costs, err := Costs()
	need(t, err)
	t.Logf("%-14s %8s %8s %9s  %s", "program", "BPF", "machine", "verified", "stack")
	for _, c := range costs {
		t.Logf("%-14s %8d %8d %9d  %s", c.Program, c.Bytes, c.Machine, c.Verified, c.Stack)
		if c.Verified == 0 || c.Verified > MostVerified {
			t.Errorf("%s: the verifier looks at %d instructions, want at most %d", c.Program, c.Verified, MostVerified)
		}
	}
}

func TestProbe(t *testing.T) {
	load(t, Options{}) // skips where nothing can be found
	for _, f := range Probe() {
		t.Logf("%v %s: %s", f.Level, f.Name, f.Text)
		if f.Level == Fail && f.Name != "bpffs" {
			t.Errorf("%s fails here although the programs load: %s", f.Name, f.Text)
		}
		if f.Level != Pass && f.Hint == "" {
			t.Errorf("%s has no hint", f.Name)
		}
	}
	if f := finding("x", os.ErrInvalid, "9.9"); f.Level != Fail {
		t.Errorf("%+v", f)
	}
}

func TestProbeInterface(t *testing.T) {
	l := newLab(t)
	probe := func(iface string) (text string) {
		l.Middle.Do(func() error {
			for _, f := range ProbeInterface(iface) {
				text += strings.Join([]string{f.Level.String(), f.Name, f.Text, f.Hint, "\n"}, " ")
			}
			return nil
		})
		return text
	}
	for _, c := range []struct{ iface, want string }{
		{"eth99", "FAIL interface eth99"},
		{lab.ToClient, "PASS interface client0 is up"},
		{lab.ToClient, "PASS attached no XDP program"},
		{"lo", "WARN MTU 65536"},
		{lab.ToClient, "PASS driver veth"},
		{"lo", "PASS driver not known"},
	} {
		if got := probe(c.iface); !strings.Contains(got, c.want) {
			t.Errorf("%s: no %q in\n%s", c.iface, c.want, got)
		}
	}
	g := guarding(t, inline())
	attach(t, l, g, lab.ToClient, AttachGeneric)
	if got := probe(lab.ToClient); !strings.Contains(got, "WARN attached XDP program") {
		t.Errorf("attached: %s", got)
	}
	var a Attachments
	if err := l.Middle.Do(func() error {
		dev, err := net.InterfaceByName(lab.ToClient)
		if err == nil {
			a, err = Attached(dev.Index)
		}
		return err
	}); err != nil || a.Native || a.XDP == 0 || a.Egress == 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

// The committed objects match the committed source.
func TestObjectsAreUpToDate(t *testing.T) {
	needClang(t)
	dir := t.TempDir()
	if out, err := exec.Command("cp", "-r", ".", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	line, err := os.ReadFile("bpf.go")
	if err != nil {
		t.Fatal(err)
	}
	_, args, ok := strings.Cut(string(line), "//go:generate ")
	if !ok {
		t.Fatal("no go:generate line")
	}
	args, _, _ = strings.Cut(args, "\n")
	tool := filepath.Join(dir, "bpf2go")
	if out, err := exec.Command("go", "build", "-o", tool, "github.com/cilium/ebpf/cmd/bpf2go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("sh", "-c", strings.Replace(args, "go tool bpf2go", tool, 1))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOPACKAGE=bpf")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, f := range []string{"guard_bpfel.go", "guard_bpfel.o", "guard_bpfeb.go", "guard_bpfeb.o"} {
		want, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(f); err != nil || string(got) != string(want) {
			t.Errorf("%s differs from what go generate gives: run go generate ./bpf", f)
		}
	}
}
