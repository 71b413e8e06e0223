package kernels

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
)

// manyCPUs is the number of possible CPUs: with many, maps that keep free entries per CPU run out of them early.
const manyCPUs = 64

// TestKernelManyCPUs runs tests of package bpf on the oldest kernel with 64 possible CPUs: the flow map holds as many flows as
// configured, and nothing passes unparsed.
func TestKernelManyCPUs(t *testing.T) {
	k, err := emulator.Find(kernels(t)[0], emulator.Cloud)
	if err != nil {
		t.Fatal(err)
	}
	m := machine(t, k, "^TestGuestBPF$")
	m.Slots = manyCPUs
	binary := filepath.Join(t.TempDir(), "bpf.test")
	build := exec.Command("go", "test", "-c", "-o", binary, "./bpf")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of bpf: %v\n%s", err, out)
	}
	files := make(emulator.Files)
	for name, f := range m.Files {
		files[name] = f
	}
	files["/bin/bpf.test"] = emulator.File{From: binary, Mode: 0o755}
	m.Files = files
	m.Env = append(m.Env, "BPF_TEST=/bin/bpf.test")
	start(t, m)
}

// TestGuestBPF runs the tests of package bpf that depend on the number of CPUs and on what the kernel's network stack accepts.
func TestGuestBPF(t *testing.T) {
	guestOnly(t)
	binary := os.Getenv("BPF_TEST")
	if binary == "" {
		t.Skip("needs the tests of package bpf: TestKernelManyCPUs")
	}
	if n := ebpf.MustPossibleCPU(); n != manyCPUs {
		t.Errorf("%d CPUs are possible, want %d", n, manyCPUs)
	}
	for name, args := range map[string][]string{
		"flows": {"-test.run", "^TestEstablishedFlowsAreKept$"},
		"gate":  {"-test.run", "^TestNothingPassesUnparsed$", "-frames", strconv.Itoa(gateFrames)},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(binary, append(args, "-test.v")...).CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// gateFrames is the number of frames that an emulated CPU sends in half a minute.
const gateFrames = 10_000
