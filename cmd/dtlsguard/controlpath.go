package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
)

// controlSocket is the name of the control socket in whatever directory it is.
const controlSocket = "dtlsguard.sock"

// runDirectory is where root's guard, and that of the service unit, has its socket.
const runDirectory = "/run/dtlsguard"

// controlHome is the directory that a guard of this user puts its control socket in, "" if there is none: one that only
// this user, or root, can put names into. The service manager's comes first, then root's, then the user's own.
func controlHome() string {
	if dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":"); dir != "" { // a list, if the unit names several
		return dir
	}
	if os.Geteuid() == 0 {
		return runDirectory
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return dir
	}
	if dir := fmt.Sprintf("/run/user/%d", os.Geteuid()); exists(dir) {
		return dir
	}
	return ""
}

// defaultControl is where run puts its control socket: "off" if there is no place for one.
func defaultControl() string {
	if dir := controlHome(); dir != "" {
		return filepath.Join(dir, controlSocket)
	}
	return "off"
}

// defaultAsk is the socket of the guard that the commands ask: this user's, or else that of the host's service.
func defaultAsk() string {
	service := filepath.Join(runDirectory, controlSocket)
	if own := defaultControl(); own != "off" && (exists(own) || !exists(service)) {
		return own
	}
	return service
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// defaultPin is where programs and flows are pinned: where the service unit has mounted that, for a bpffs lets nobody but
// root look for names in it, or the place on the bpffs itself.
func defaultPin() string {
	dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	dir = filepath.Join(dir, "pins")
	var fs unix.Statfs_t
	if filepath.IsAbs(dir) && unix.Statfs(dir, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC {
		return dir
	}
	return bpf.PinRoot
}
