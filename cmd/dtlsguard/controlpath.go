package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
)

// controlSocket is the file name of the control socket.
const controlSocket = "dtlsguard.sock"

// runDirectory has the sockets of root's guard and of the service unit.
const runDirectory = "/run/dtlsguard"

// controlHome returns the directory for the control socket of this user's guard, "" if there is none. Only this user or root
// can create files in it. The service manager's directory comes first, then root's, then the user's own.
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

// defaultControl returns the control socket of run, "off" if there is no directory for it.
func defaultControl() string {
	if dir := controlHome(); dir != "" {
		return filepath.Join(dir, controlSocket)
	}
	return "off"
}

// defaultAsk is the default control socket of the commands: from the environment variable, this user's, or the host service's.
func defaultAsk() string {
	if named := os.Getenv("DTLSGUARD_CONTROL"); named != "" && named != settings.Off {
		return named
	}
	service := filepath.Join(runDirectory, controlSocket)
	if own := defaultControl(); own != "off" && (exists(own) || !exists(service)) {
		return own
	}
	return service
}

// sayControl warns if there is no control socket although it was not switched off.
func (g *guard) sayControl(byDefault bool) {
	if g.Control == settings.Off && byDefault {
		g.Config.Log.Warn("no control socket: status, reload and drain cannot reach this guard",
			"hint", "give --control SOCKET, or set XDG_RUNTIME_DIR to a directory of this user's")
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// defaultPin returns where programs and flows are pinned: where the service unit has bind-mounted it, because only root can
// look up names on a bpffs, or the directory on the bpffs itself.
func defaultPin() string {
	dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	dir = filepath.Join(dir, "pins")
	var fs unix.Statfs_t
	if filepath.IsAbs(dir) && unix.Statfs(dir, &fs) == nil && fs.Type == unix.BPF_FS_MAGIC {
		return dir
	}
	return bpf.PinRoot
}
