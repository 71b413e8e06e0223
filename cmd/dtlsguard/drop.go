package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/privileges"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// drop gives up what a guard that serves does not need. No capability is kept, but for what a kernel without tcx links
// asks of who takes a program off: the programs that are loaded can be attached again, detached and unpinned without any.
func (f *runFlags) drop(server *frontend.Server, doors doors) error {
	c := privileges.Config{User: f.user, Keep: server.Capabilities(), Log: f.config.Log}
	if os.Geteuid() == 0 {
		var uid, gid int // root without capabilities cannot remove another user's pins either
		if u := f.user; u != nil {
			uid, gid = u.UID, u.GID
		}
		if err := errors.Join(server.Give(uid, gid), doors.control.Give(uid, gid)); err != nil {
			return fmt.Errorf("own what is removed at the end: %w", err)
		}
	}
	c.Read, c.Write = f.directories()
	if err := privileges.Drop(c); err != nil {
		return err
	}
	return readable(f.config.SecretFile)
}

// directories are those of files that are read again, or made and removed, while the guard serves: a file that is
// replaced is another one under the same name, so its directory counts.
func (f *runFlags) directories() (read, write []string) {
	files := []string{f.config.SecretFile, f.config.AllowFile, f.config.DenyFile}
	for _, s := range f.config.Services {
		if s.Settings != nil {
			files = append(files, s.Settings.SecretFile)
		}
	}
	for _, file := range files {
		if file == "" {
			continue
		}
		read = append(read, filepath.Dir(file))
		if target, err := filepath.EvalSymlinks(file); err == nil {
			read = append(read, filepath.Dir(target))
		}
	}
	if f.control != "off" {
		write = append(write, filepath.Dir(f.control))
	}
	if pin := f.config.XDP.Pin; pin != "" {
		write = append(write, pin)
	}
	return read, write
}

// readable reports that a guard that has given up its privileges cannot read its secret file again: root without
// capabilities reads no other user's. That is better known at the start than at the first rotation.
func readable(file string) error {
	if file == "" {
		return nil
	}
	r, err := regular.Open(file)
	if errors.Is(err, os.ErrPermission) {
		return hint.Errorf(fmt.Sprintf("give it to the guard's user: chown %d %s", os.Geteuid(), file),
			"read the secret file again, as when it changes: %w, without the privileges that a guard gives up once it runs", err)
	}
	if err == nil {
		r.Close()
	}
	return nil // what else is wrong with it is for the rotation to say
}
