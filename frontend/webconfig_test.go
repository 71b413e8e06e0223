package frontend

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The user prometheus with the password "scrape".
const webUsers = "basic_auth_users: {prometheus: $2a$04$1nS4BUkLZ4wGAHraG44zLem4BC.lqrznS8mlbV6j1Ht2X/I.IDiYy}\n"

// certificate writes a certificate for 127.0.0.1 of the given serial number and its key.
func certificate(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: k}} {
		write(t, filepath.Join(dir, name), string(pem.EncodeToMemory(b)))
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secured serves "ok" by a web configuration, and returns the address, the file and the log.
func secured(t *testing.T) (addr, file string, log *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	certificate(t, dir, 1)
	file = filepath.Join(dir, "web.yml")
	write(t, file, "tls_server_config: {cert_file: cert, key_file: key}\n"+webUsers)
	l, err := OpenMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	log = new(bytes.Buffer)
	if err := l.Secure(WebConfig(file), slog.New(slog.NewTextHandler(log, nil))); err != nil {
		t.Fatal(err)
	}
	l.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	return l.Addr().String(), file, log
}

// askSecurely asks once, over a connection of its own, and returns the status, the body and the certificate's serial number.
func askSecurely(t *testing.T, addr, user, password string) (status int, body string, serial int64) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // its own certificate
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.TLS.PeerCertificates[0].SerialNumber.Int64()
}

// A file that loses its users while the guard runs opens nothing: it is emptied for a moment whenever somebody edits it.
func TestWebConfigThatLosesItsUsers(t *testing.T) {
	addr, file, log := secured(t)
	if status, _, _ := askSecurely(t, addr, "prometheus", "scrape"); status != http.StatusOK {
		t.Fatalf("with its users: %d", status)
	}
	write(t, file, "tls_server_config: {cert_file: cert, key_file: key}\n")
	for range 2 {
		if status, body, _ := askSecurely(t, addr, "prometheus", "scrape"); status != http.StatusInternalServerError || strings.Contains(body, "ok") {
			t.Errorf("%d %q", status, body)
		}
	}
	if n := strings.Count(log.String(), "basic_auth_users"); n != 1 {
		t.Errorf("%d lines tell it: %s", n, log)
	}
	write(t, file, "tls_server_config: {cert_file: cert, key_file: key}\n"+webUsers)
	if status, _, _ := askSecurely(t, addr, "prometheus", "scrape"); status != http.StatusOK {
		t.Errorf("with its users again: %d", status)
	}
}

// Only who knows the password is answered, by TLS alone; a renewed certificate is in force at once.
func TestWebConfig(t *testing.T) {
	addr, file, log := secured(t)
	for _, who := range [][2]string{{"", ""}, {"prometheus", "guess"}, {"nobody", "scrape"}} {
		if status, body, _ := askSecurely(t, addr, who[0], who[1]); status != http.StatusUnauthorized || strings.Contains(body, "ok") {
			t.Errorf("%q: %d %q", who, status, body)
		}
	}
	if status, body, serial := askSecurely(t, addr, "prometheus", "scrape"); status != http.StatusOK || body != "ok" || serial != 1 {
		t.Errorf("%d %q, certificate %d", status, body, serial)
	}
	if err := ask(addr, "/"); err == nil || !strings.Contains(err.Error(), "HTTP request to an HTTPS server") {
		t.Errorf("without TLS: %v", err)
	}
	certificate(t, filepath.Dir(file), 2)
	if _, _, serial := askSecurely(t, addr, "prometheus", "scrape"); serial != 2 {
		t.Errorf("certificate %d, want the renewed one", serial)
	}
	if log.Len() > 0 {
		t.Errorf("strangers and scrapers leave lines in the log: %s", log)
	}
}

// Connections that ask nothing, with and without a TLS handshake, keep nobody from asking.
func TestIdleConnectionsByTLS(t *testing.T) {
	addr, _, _ := secured(t)
	for i := range 4 * AdminConnections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()); err != nil { //nolint:gosec // its own certificate
				t.Fatal(err)
			}
		}
	}
	if status, _, _ := askSecurely(t, addr, "prometheus", "scrape"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

// What protects nothing, or cannot be used, is refused before anything is served.
func TestWebConfigIsChecked(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, 1)
	for want, text := range map[string]string{
		"neither tls_server_config nor basic_auth_users": "http_server_config: {http2: false}\n",
		"field tls_server not found":                     "tls_server: {cert_file: cert, key_file: key}\n",
		"missing one of key or key_file":                 "tls_server_config: {cert_file: cert}\n",
		"none: no such file":                             "tls_server_config: {cert_file: none, key_file: key}\n",
		"hashedSecret too short":                         "basic_auth_users: {prometheus: scrape}\n",
		"without a Client Auth Policy":                   "tls_server_config: {cert_file: cert, key_file: key, client_ca_file: cert}\n",
	} {
		file := filepath.Join(dir, "web.yml")
		write(t, file, text)
		if err := WebConfig(file).Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := WebConfig(dir).Check(); err == nil {
		t.Error("a directory is accepted as a configuration")
	}
	write(t, filepath.Join(dir, "web.yml"), "tls_server_config: {cert_file: cert, key_file: /etc/key}\n")
	if got := fmt.Sprint(WebConfig(filepath.Join(dir, "web.yml")).Files()); got != fmt.Sprintf("[%[1]s/web.yml %[1]s/cert /etc/key]", dir) {
		t.Errorf("reads %s", got)
	}
}
