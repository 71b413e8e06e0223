package e2e

import (
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
)

// turnServer starts coturn with nothing but its DTLS listener.
func turnServer(t *testing.T, addr netip.AddrPort) *server {
	t.Helper()
	cert, key := certFiles(t)
	host, dir := addr.Addr().String(), t.TempDir()
	p := start(t, "", "turnserver", "-n", "-L", host, "-E", host, "-p", strconv.Itoa(int(freePort(t))),
		"--tls-listening-port", strconv.Itoa(int(addr.Port())), "--cert", cert, "--pkey", key, "--no-tcp", "--no-tls", "--no-cli", "--no-auth",
		"--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--db", filepath.Join(dir, "db"))
	awaitListener(t, p, addr)
	return &server{program: p, addr: addr}
}
