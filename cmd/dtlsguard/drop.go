package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/settings"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// addUser makes the user that root's guard becomes.
const addUser = "useradd --system --no-create-home --shell /usr/sbin/nologin " + privileges.DefaultUser + ", or say --user root"

// drop gives up privileges that a serving guard does not need. Loaded programs can be attached again, detached and unpinned
// without capabilities, except that kernels without tcx links require one to detach.
func (g *guard) drop(server *frontend.Server, admin adminListeners) error {
	c := privileges.Config{User: g.user, Keep: server.Capabilities(), Log: g.Config.Log}
	if g.File != "" {
		c.Keep = append(c.Keep, unix.CAP_NET_BIND_SERVICE) // for services on ports below 1024 that a reload adds
	}
	if os.Geteuid() == 0 {
		if g.user == nil && g.User == "" {
			g.Config.Log.Warn("the guard stays root: there is no user dtlsguard to become", "hint", addUser)
		}
		var uid, gid int // root without capabilities cannot remove another user's pins either
		if u := g.user; u != nil {
			uid, gid = u.UID, u.GID
		}
		if err := errors.Join(server.Give(uid, gid), admin.control.Give(uid, gid)); err != nil {
			return fmt.Errorf("own what is removed at the end: %w", err)
		}
	}
	c.Read, c.Write = g.directories()
	if pin := g.Config.XDP.Pin; pin != "" {
		c.Pins = []string{pin}
	}
	if err := privileges.Drop(c); err != nil {
		return err
	}
	var errs []error
	for _, file := range append(g.files(), g.WebConfig.Files()...) {
		errs = append(errs, readable(file))
	}
	return errors.Join(errs...)
}

// directories returns the directories of files that are read again, created or removed while the guard serves. Directories,
// because a replaced file is a new one under the same name.
func (g *guard) directories() (read, write []string) {
	for _, file := range append(append(g.files(), g.WebConfig.Files()...), g.File, g.Config.AllowFile, g.Config.DenyFile) {
		if file == "" {
			continue
		}
		read = append(read, filepath.Dir(file))
		if target, err := filepath.EvalSymlinks(file); err == nil {
			read = append(read, filepath.Dir(target))
		}
	}
	if log := g.Config.MapLog; log != "" {
		write = append(write, filepath.Dir(log))
	}
	if g.Control != settings.Off {
		write = append(write, filepath.Dir(g.Control))
	}
	return read, write
}

// files returns the files that the guard reads again when they change.
func (g *guard) files() (files []string) {
	for _, s := range append([]frontend.Service{{Settings: &g.Config.Settings}}, g.Config.Services...) {
		if f := s.Settings.SecretFile; f != "" && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	return files
}

// readable returns an error if a guard without privileges could not read a file again (root without capabilities cannot read
// other users' files), so that this is known at the start, not at the first change.
func readable(file string) error {
	if file == "" {
		return nil
	}
	r, err := regular.Open(file)
	if errors.Is(err, os.ErrPermission) {
		return hint.Errorf(fmt.Sprintf("give it to the guard's user: chown %d %s", os.Geteuid(), file),
			"read the file again, as when it changes: %w, without the privileges that a guard gives up once it runs", err)
	}
	if err == nil {
		r.Close()
	}
	return nil // other errors are reported by the rotation
}
