package emulator

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// suites are where the kernels of a series come from: the oldest supported release, and the backports that its users can
// install. Before that there is bullseye's 5.10, which is still listed but will leave the mirrors one day.
func suites(series string) []string {
	if series == "5.10" {
		return []string{"bullseye"}
	}
	return []string{"bookworm", "bookworm-backports", "trixie-backports"}
}

// mirror is Debian's public address; apt's own configuration has the proxy.
const mirror = "http://deb.debian.org/debian"

// Flavours of Debian's kernels.
const (
	Cloud   = "cloud-amd64" // what virtual machines have: small, few drivers
	Generic = "amd64"       // all drivers
	Arm64   = "cloud-arm64" // of 64-bit ARM
)

// architecture is Debian's name of what a flavour runs on.
func architecture(flavour string) string {
	if flavour == Arm64 {
		return "arm64"
	}
	return "amd64"
}

// Cache is the directory of downloaded kernels.
func Cache() (string, error) {
	if dir := os.Getenv("DTLSGUARD_KERNEL_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "dtlsguard", "kernels"), err
}

// Kernel is an unpacked kernel.
type Kernel struct {
	Release string            // as uname -r has it
	Image   string            // path of vmlinuz
	Modules map[string]string // paths by name, with _ instead of -
}

// Find returns the newest kernel of a series ("6", "6.12") that can be downloaded, or the one in the cache from an
// earlier call. It skips superseded versions, which stay listed for a while without some of their packages.
func Find(series, flavour string) (*Kernel, error) {
	dir, unlock, err := lockCache()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if k, err := cached(dir, series, flavour); k != nil || err != nil {
		return k, err
	}
	k, err := download(dir, series, flavour)
	if err != nil {
		return nil, fmt.Errorf("kernel %s (%s) by apt from %s: %w", series, flavour, mirror, err)
	}
	return k, nil
}

// lockCache makes the cache's directory if it is not there, and locks it: one process at a time downloads to it.
func lockCache() (dir string, unlock func(), err error) {
	dir, err = Cache()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		unlock, err = lock(filepath.Join(dir, "download.lock"))
	}
	if err != nil {
		return "", nil, fmt.Errorf("kernel cache: %w", err)
	}
	return dir, unlock, nil
}

// lock takes a lock shared by all processes, and returns its release.
func lock(path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { f.Close() }, nil
}

// latest is the name of the link to the newest kernel of a series.
func latest(series, flavour string) string { return "latest-" + series + "-" + flavour }

func cached(dir, series, flavour string) (*Kernel, error) {
	r, err := os.Readlink(filepath.Join(dir, latest(series, flavour)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return open(dir, r)
}

// release is the name of a kernel: 6.1.0-50-cloud-amd64, 6.12.95+deb12-cloud-amd64.
var release = regexp.MustCompile(`^(\d+(?:\.\d+)+)([-+][a-z0-9.]+)?-(cloud-amd64|amd64|cloud-arm64)$`)

func matches(name, series, flavour string) bool {
	m := release.FindStringSubmatch(name)
	return m != nil && m[3] == flavour && strings.HasPrefix(m[1]+".", series+".")
}

var digits = regexp.MustCompile(`\d+`)

func byVersion(a, b string) int {
	numbers := func(s string) (n []int) {
		if m := release.FindStringSubmatch(s); m != nil {
			s = m[1] + m[2] // without the flavour
		}
		for _, d := range digits.FindAllString(s, -1) {
			i, _ := strconv.Atoi(d)
			n = append(n, i)
		}
		return n
	}
	return cmp.Or(slices.Compare(numbers(a), numbers(b)), cmp.Compare(a, b))
}

// apt runs an apt program with sources and lists of our own, for one architecture. Downloads go to the directory to.
func apt(dir, arch, to, program string, args ...string) ([]byte, error) {
	lists := filepath.Join(dir, "apt", "lists")
	options := []string{"-q", "-o", "APT::Architecture=" + arch, "-o", "APT::Architectures::=" + arch, "-o", "Dir::Etc::sourcelist=" + list(dir, arch),
		"-o", "Dir::Etc::sourceparts=/dev/null", "-o", "Dir::State::lists=" + lists,
		"-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=", "-o", "APT::Sandbox::User=root"}
	cmd := exec.Command(program, append(options, args...)...)
	cmd.Dir = to
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out, nil
}

// list is the path of the sources of an architecture.
func list(dir, arch string) string { return filepath.Join(dir, "apt", "kernels-"+arch+".list") }

// update fetches what there is in the suites for an architecture.
func update(dir, arch string, suites []string) error {
	if err := os.MkdirAll(filepath.Join(dir, "apt", "lists", "partial"), 0o755); err != nil {
		return err
	}
	var sources strings.Builder
	for _, s := range suites {
		fmt.Fprintf(&sources, "deb [arch=%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", arch, mirror, s)
	}
	if err := os.WriteFile(list(dir, arch), []byte(sources.String()), 0o644); err != nil {
		return err
	}
	_, err := apt(dir, arch, dir, "apt-get", "update")
	return err
}

func download(dir, series, flavour string) (*Kernel, error) {
	arch := architecture(flavour)
	if err := update(dir, arch, suites(series)); err != nil {
		return nil, err
	}
	out, err := apt(dir, arch, dir, "apt-cache", "pkgnames", "linux-")
	if err != nil {
		return nil, err
	}
	listed := make(map[string]bool)
	var releases []string
	for name := range strings.FieldsSeq(string(out)) {
		listed[name] = true
		if r, ok := strings.CutPrefix(name, "linux-image-"); ok && matches(r, series, flavour) {
			releases = append(releases, r)
		}
	}
	slices.SortFunc(releases, byVersion)
	var failed error
	for _, r := range slices.Backward(releases) {
		packages := []string{"linux-image-" + r}
		if listed["linux-binary-"+r] { // since 6.19 the image is split
			packages = []string{"linux-binary-" + r, "linux-modules-" + r}
		}
		if slices.ContainsFunc(packages, func(p string) bool { return !listed[p] }) {
			continue
		}
		if err := unpack(dir, arch, r, packages); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if err := os.Symlink(r, filepath.Join(dir, latest(series, flavour))); err != nil {
			return nil, err
		}
		return open(dir, r)
	}
	return nil, cmp.Or(failed, errors.New("no such version is listed"))
}

// unpack downloads packages and unpacks them into the directory r of dir, a kernel's release, unless it is there.
func unpack(dir, arch, r string, packages []string) error {
	if _, err := os.Stat(filepath.Join(dir, r)); err == nil {
		return nil // the newest kernel of two series
	}
	tmp, err := os.MkdirTemp(dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if _, err := apt(dir, arch, tmp, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	root := filepath.Join(tmp, "root")
	for _, f := range files {
		if out, err := exec.Command("dpkg-deb", "-x", f, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w: %s", f, err, out)
		}
	}
	return os.Rename(root, filepath.Join(dir, r))
}

// open locates the parts of an unpacked kernel.
func open(dir, r string) (*Kernel, error) {
	k := &Kernel{Release: r, Modules: make(map[string]string)}
	root := filepath.Join(dir, r)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := d.Name()
		if strings.HasPrefix(name, "vmlinuz") {
			k.Image = path
		}
		if base, _, ok := strings.Cut(name, ".ko"); ok {
			k.Modules[strings.ReplaceAll(base, "-", "_")] = path
		}
		return nil
	})
	if err == nil && k.Image == "" {
		err = errors.New("no vmlinuz")
	}
	if err != nil {
		return nil, fmt.Errorf("kernel in %s: %w", root, err)
	}
	return k, nil
}

// Module returns the contents of a module, nil if there is none: it may be built in.
func (k *Kernel) Module(name string) ([]byte, error) {
	path := k.Modules[name]
	switch {
	case path == "":
		return nil, nil
	case strings.HasSuffix(path, ".ko"):
		return os.ReadFile(path)
	}
	b, err := exec.Command("xz", "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	return b, nil
}
