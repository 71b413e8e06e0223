package kernels

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

var (
	kernelList = flag.String("kernel", "", "series of Debian's kernels to boot, by commas: 6.1,6.12,6,7 (6 is the newest of all 6.x)")
	arm64      = flag.Bool("arm64", false, "boot Debian's oldest supported kernel of 64-bit ARM")
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

// TestArm64 runs the guard's programs and shapes on a kernel of 64-bit ARM: other registers, another JIT, and seccomp, which user-mode
// emulation has not.
func TestArm64(t *testing.T) {
	if !*arm64 {
		t.Skip("needs -arm64 (make test-arm64)")
	}
	k, err := emulator.Find("6.1", emulator.Arm64)
	if err != nil {
		t.Fatal(err)
	}
	f, err := arm64Files(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	start(t, &emulator.Machine{Kernel: k, Files: f, Env: []string{inGuest + "=1", "DTLSGUARD_REQUIRE_BPF=1"},
		Run: []string{"/bin/kernels.test", "-test.v", "-test.timeout", slowest.String(), "-test.run", *only}})
}

// arm64Files are guestFiles for 64-bit ARM.
func arm64Files(dir string) (emulator.Files, error) {
	s, err := emulator.FindArm64("guest", "busybox-static", "openssl", "libssl3", "libssl-dev", "libc6", "iproute2", "libbpf1", "libelf1", "libmnl0", "libbsd0",
		"libmd0", "libcap2", "zlib1g", "ethtool")
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"build", "-o", dir, "./cmd/dtlsguard", "./cmd/dtlsflood"}, {"test", "-c", "-o", filepath.Join(dir, "kernels.test"), "./test/kernels"},
	} {
		build := exec.Command("go", args...)
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build what the guest runs: %w\n%s", err, out)
		}
	}
	openssl := *peers.Find("openssl")
	openssl.Compiler = "aarch64-linux-gnu-gcc"
	openssl.Options = append(slices.Clone(openssl.Options), "-I"+s.Path("/usr/include"), "-I"+s.Path("/usr/include/aarch64-linux-gnu"))
	for _, l := range s.Libraries() {
		openssl.Options = append(openssl.Options, "-L"+l, "-Wl,-rpath-link,"+l)
	}
	server, err := openssl.Build(dir)
	if err != nil {
		return nil, err
	}
	f := make(emulator.Files)
	for to, from := range map[string]string{
		"dtlsguard": filepath.Join(dir, "dtlsguard"), "dtlsflood": filepath.Join(dir, "dtlsflood"), "kernels.test": filepath.Join(dir, "kernels.test"),
		"openssl-server": server, "openssl": s.Path("/usr/bin/openssl"), "ip": s.Path("/bin/ip"), "ethtool": s.Path("/sbin/ethtool"), "busybox": s.Path("/bin/busybox"),
	} {
		if err := s.Add(f, from, "/bin/"+to); err != nil {
			return nil, err
		}
	}
	return f, addObjects(f)
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
