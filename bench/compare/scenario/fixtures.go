package scenario

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
)

// modulePackage is this module: the source in the working directory is measured.
const modulePackage = "github.com/dtlsguard/dtlsguard"

// Fixtures makes what scenarios need, each thing once and on demand.
type Fixtures struct {
	dir      string
	servers  peers.Builder
	identity func() (peers.Identity, error)
	daemon   func() (binary string, err error)
}

// NewFixtures returns Fixtures that use the directory dir.
func NewFixtures(dir string) *Fixtures {
	return &Fixtures{
		dir: dir, servers: peers.Builder{Dir: dir},
		identity: sync.OnceValues(func() (peers.Identity, error) { return peers.NewIdentity(dir) }),
		daemon:   sync.OnceValues(func() (string, error) { return buildDaemon(dir) }),
	}
}

func buildDaemon(dir string) (string, error) {
	const source = modulePackage + "/cmd/dtlsguard"
	binary := filepath.Join(dir, "dtlsguard")
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %s", source, strings.TrimSpace(string(out)))
	}
	return binary, nil
}
