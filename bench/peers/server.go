package peers

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The sources are in the program, so that it can be run anywhere a C compiler is.
//
//go:embed echo openssl gnutls
var sources embed.FS

// Server is a small server in C. It takes the address and port to listen at as its two arguments.
type Server struct {
	Name      string // of its directory, source and binary
	Title     string
	Libraries []string
	Package   string // of Debian, which has the libraries' headers
	Answers   bool   // with HelloVerifyRequests that have their question's record sequence number
}

// Servers are all there are. The first is the limit of what a server with sockets can do.
var Servers = []Server{
	{Name: "echo", Title: "C recvmmsg/sendmmsg echo", Package: "libc6-dev"},
	{Name: "openssl", Title: "OpenSSL DTLSv1_listen", Libraries: []string{"ssl", "crypto"}, Package: "libssl-dev", Answers: true},
	{Name: "gnutls", Title: "GnuTLS gnutls_dtls_cookie_send", Libraries: []string{"gnutls"}, Package: "libgnutls28-dev"}, // its record sequence number is 0, whatever the question's
}

// Find returns the server of that name, nil if there is none.
func Find(name string) *Server {
	for i := range Servers {
		if Servers[i].Name == name {
			return &Servers[i]
		}
	}
	return nil
}

// Build compiles s into dir and returns the binary's path. An error says what to install.
func (s *Server) Build(dir string) (string, error) {
	source := s.Name + ".c"
	text, err := sources.ReadFile(s.Name + "/" + source)
	if err != nil {
		return "", fmt.Errorf("source of %s: %w", s.Title, err)
	}
	source = filepath.Join(dir, source)
	if err := os.WriteFile(source, text, 0o600); err != nil {
		return "", err
	}
	binary := filepath.Join(dir, s.Name)
	args := []string{"-O2", "-o", binary, source}
	for _, l := range s.Libraries {
		args = append(args, "-l"+l)
	}
	out, err := exec.Command("cc", args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("no C compiler: apt-get install gcc libc6-dev")
	}
	if err != nil {
		first, _, _ := strings.Cut(string(out), "\n")
		return "", fmt.Errorf("does not compile (apt-get install %s): %s", s.Package, first)
	}
	return binary, nil
}
