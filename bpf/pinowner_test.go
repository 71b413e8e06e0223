package bpf

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Of what the pins' user has put under their names nothing outside their directory changes its owner.
func TestGivePinsStaysInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const nobody = 65534
	dir := t.TempDir()
	inside, outside := filepath.Join(dir, "pins"), filepath.Join(dir, "etc")
	for _, d := range []string{inside, outside, filepath.Join(inside, "eth0")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(outside, "shadow")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"eth0/map": secret, "eth1": outside} {
		if err := os.Symlink(to, filepath.Join(inside, name)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := giveAll(root, "eth0", nobody, nobody); err != nil {
		t.Error(err)
	}
	if err := giveAll(root, "eth1", nobody, nobody); err == nil {
		t.Error("a link out of the directory was followed")
	}
	for path, want := range map[string]uint32{secret: 0, outside: 0, filepath.Join(inside, "eth0"): nobody, filepath.Join(inside, "eth0/map"): nobody} {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Uid != want {
			t.Errorf("%s belongs to %d, %v, want %d", path, st.Uid, err, want)
		}
	}
}
