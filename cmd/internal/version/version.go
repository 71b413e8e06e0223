// Package version says which release a program is and which commit it was built from.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// release is the newest release in CHANGELOG.md.
const release = "0.1.0"

// Set by the linker (Makefile, deploy/package/build): the newest tag and the commits since, empty without tags; the commit.
var described, revision string

// Build describes a program.
type Build struct{ Version, Revision, GoVersion string }

// Of describes this program.
func Of() Build {
	commit := revision
	if info, ok := debug.ReadBuildInfo(); ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return Build{
		Version:   cmp.Or(strings.TrimPrefix(described, "v"), release),
		Revision:  cmp.Or(commit, "unknown"),
		GoVersion: runtime.Version(),
	}
}

// Line is what --version prints.
func Line(program string) string {
	b := Of()
	return fmt.Sprintf("%s %s (revision %s, %s, %s/%s)", program, b.Version, b.Revision, b.GoVersion, runtime.GOOS, runtime.GOARCH)
}
