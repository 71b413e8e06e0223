package kernels

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

var (
	kernelList = flag.String("kernel", "", "series of Debian's kernels to boot, by commas: 6.1,6.12,6,7 (6 is the newest of all 6.x)")
	only       = flag.String("guest", "^TestGuest(Verifier|Costs|Generator|Check|Beside|Dispatcher|Shapes|Workers)", "which tests to run in the guest")
)

// inGuest is the environment variable that is set in the emulator.
const inGuest = "DTLSGUARD_GUEST"

// atATime is the number of machines that run at once: each has two CPUs, and a boot mostly waits.
const atATime = 2

// slowest is how long a machine's tests may take on a busy host. On an idle one they take two minutes, those of the
// drivers ten.
const slowest = 40 * time.Minute

// root is the module's directory, relative to a test package.
const root = "../.."

func TestKernel(t *testing.T) {
	all := kernels(t)
	slots := make(chan struct{}, atATime)
	costs := make([]string, len(all))
	t.Run("series", func(t *testing.T) {
		for i, series := range all {
			t.Run(series, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				k, err := emulator.Find(series, emulator.Cloud)
				if err != nil {
					t.Fatal(err)
				}
				costs[i] = costLine(k.Release, start(t, machine(t, k, *only)))
			})
		}
	})
	if *update && !t.Failed() {
		costTable.write(t, costs)
	}
}

// kernels returns the series given by -kernel.
func kernels(t *testing.T) []string {
	t.Helper()
	if *kernelList == "" {
		t.Skip("needs -kernel SERIES[,...], such as 6.1,6.12,6,7 (make test-kernels)")
	}
	return strings.Split(*kernelList, ",")
}

// machine returns a machine with what the guest's tests need, which runs those that match a pattern.
func machine(t *testing.T, k *emulator.Kernel, tests string) *emulator.Machine {
	t.Helper()
	f, err := guestFiles()
	if err != nil {
		t.Fatal(err)
	}
	return &emulator.Machine{Kernel: k, Files: f, Env: []string{inGuest + "=1", "DTLSGUARD_REQUIRE_BPF=1"},
		Run: []string{"/bin/kernels.test", "-test.v", "-test.timeout", slowest.String(), "-test.run", tests}}
}

// start runs m and makes its tests' results those of t. It returns what they printed.
func start(t *testing.T, m *emulator.Machine) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), slowest)
	defer cancel()
	r, err := m.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Linux %s", m.Kernel.Release)
	report(t, string(r.Output))
	if r.Status != 0 && !t.Failed() {
		t.Errorf("exit status %d\n%s\n%s", r.Status, r.Output, r.Console)
	}
	return string(r.Output)
}

// guestFiles are the same for all machines.
var guestFiles = sync.OnceValues(func() (emulator.Files, error) {
	f := make(emulator.Files)
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := f.ProgramAs(self, "/bin/kernels.test"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kernels-")
	if err != nil {
		return nil, err
	}
	build := exec.Command("go", "build", "-o", dir, "./cmd/dtlsguard", "./cmd/dtlsflood")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest's programs: %w\n%s", err, out)
	}
	for _, name := range []string{"dtlsguard", "dtlsflood"} {
		f["/bin/"+name] = emulator.File{From: filepath.Join(dir, name), Mode: 0o755}
	}
	server, err := peers.Find("openssl").Build(dir)
	if err == nil {
		err = f.ProgramAs(server, "/bin/openssl-server")
	}
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"openssl", "ip", "ethtool"} {
		if err := f.Program(name); err != nil {
			return nil, err
		}
	}
	return f, errors.Join(addObjects(f), addLibxdp(f))
})

// addObjects adds every compiled BPF object of the module.
func addObjects(f emulator.Files) error {
	return filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_bpfel.o") {
			f[objects+"/"+filepath.Base(path)] = emulator.File{From: path, Mode: 0o644}
		}
		return err
	})
}
