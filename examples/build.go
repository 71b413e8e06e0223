// Package examples builds the servers of its directory for tests, with the commands in their heads.
package examples

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Names of the binaries that Build makes.
const (
	OpenSSL = "example-openssl"
	Gate    = "example-gate"
)

//go:embed dtlsguard_cookie.h openssl/server.c
var sources embed.FS

// Build compiles the servers into dir. An error names the packages to install.
func Build(dir string) error {
	source, err := os.MkdirTemp(dir, "examples")
	if err == nil {
		err = os.CopyFS(source, sources)
	}
	if err != nil {
		return err
	}
	for _, c := range [][]string{
		{"cc", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(dir, OpenSSL), filepath.Join(source, "openssl", "server.c"), "-lssl", "-lcrypto", "-lpthread"},
		{"go", "build", "-o", filepath.Join(dir, Gate), "github.com/dtlsguard/dtlsguard/examples/gate"},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("build the examples (apt-get install gcc libc6-dev libssl-dev): %w\n%s", err, out)
		}
	}
	return nil
}
