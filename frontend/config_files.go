package frontend

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// CheckFiles reads the files that a guard reads when it starts: secrets and lists of addresses. It looks at the directory of the
// map log, too, and creates nothing. The errors are those of a start; os.ErrPermission may be this user's, and not the guard's.
func (c *Config) CheckFiles() (errs []error) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	seen := map[string]bool{"": true}
	for _, s := range append([]Service{{Settings: &c.Settings}}, c.Services...) {
		if f := s.Settings.SecretFile; !seen[f] {
			seen[f] = true
			_, err := (&fileSecrets{file: f, log: quiet}).next(nil)
			errs = append(errs, err)
		}
	}
	for _, f := range [][2]string{{c.AllowFile, ""}, {"", c.DenyFile}} { // one by one: each error is named
		_, err := addresses.OpenLists(f[0], f[1], quiet, nil)
		errs = append(errs, err)
	}
	return append(errs, checkMapLog(c.MapLog))
}

// checkMapLog returns an error if the file of the map log can be neither appended to nor created.
func checkMapLog(name string) error {
	if name == "" {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(name))
	if err == nil && !dir.IsDir() {
		err = fmt.Errorf("%s is not a directory", filepath.Dir(name))
	}
	if err == nil {
		if f, here := os.Lstat(name); here == nil && f.IsDir() {
			err = fmt.Errorf("%s is a directory", name)
		}
	}
	if err != nil {
		return hint.Errorf(mapLogHint, "map log: %w", err)
	}
	return nil
}
