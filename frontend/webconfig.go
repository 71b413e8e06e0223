package frontend

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v3"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// WebConfig names a file with the certificate and the users of an HTTP listener, in the format that Prometheus' exporters share
// (exporter-toolkit). It is read again for each connection and request. Empty: plain HTTP for everybody.
type WebConfig string

// Check reads the file and those that it names. It refuses one with neither a certificate nor users: whoever names it believes
// that something is protected.
func (w WebConfig) Check() error {
	if w == "" {
		return nil
	}
	err := w.check()
	if err != nil {
		return hint.Errorf("https://prometheus.io/docs/prometheus/latest/configuration/https/ describes the file", "metrics-web-config %s: %w", string(w), err)
	}
	return nil
}

func (w WebConfig) check() error {
	r, err := regular.Open(string(w)) // the library would wait for the writer of a pipe
	if err != nil {
		return err
	}
	r.Close()
	if err := web.Validate(string(w)); err != nil {
		return err
	}
	c, err := w.read()
	if err == nil && !c.TLSConfig.IsEnabled() && len(c.Users) == 0 {
		err = errors.New("neither tls_server_config nor basic_auth_users is set")
	}
	return err
}

func (w WebConfig) read() (*web.Config, error) {
	text, err := os.ReadFile(string(w))
	if err != nil {
		return nil, err
	}
	c := new(web.Config)
	if err := yaml.Unmarshal(text, c); err != nil {
		return nil, err
	}
	c.TLSConfig.SetDirectory(filepath.Dir(string(w)))
	return c, nil
}

// Files are the file and those that it names, all of which are read while the listener serves.
func (w WebConfig) Files() []string {
	if w == "" {
		return nil
	}
	files := []string{string(w)}
	if c, err := w.read(); err == nil {
		for _, f := range []string{c.TLSConfig.TLSCertPath, c.TLSConfig.TLSKeyPath, c.TLSConfig.ClientCAs} {
			if f != "" {
				files = append(files, f)
			}
		}
	}
	return files
}

// Secure makes the listener ask for what the file says. A nil AdminListener serves nobody anyway.
func (l *AdminListener) Secure(w WebConfig, log *slog.Logger) error {
	if l == nil || w == "" {
		return nil
	}
	l.web, l.log = w, log
	if err := w.Check(); err != nil {
		return err
	}
	c, err := w.read()
	l.users = err == nil && len(c.Users) > 0
	return err
}

// serve serves until the listener closes.
func (l *AdminListener) serve() {
	b := boundedListener{l.listener, l}
	if l.web == "" {
		_ = l.server.Serve(b)
		return
	}
	// What a stranger can cause, such as a failed TLS handshake, is not worth a line of the log.
	l.server.ErrorLog = slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)
	// Connections are bounded, so one is one request at a time.
	l.server.Protocols = new(http.Protocols)
	l.server.Protocols.SetHTTP1(true)
	file := string(l.web)
	l.server.Handler = l.withUsers(l.server.Handler)
	err := web.Serve(b, l.server, &web.FlagConfig{WebConfigFile: &file}, slog.New(errorsOnly{l.log.Handler()}))
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		l.log.Error("metrics are not served", "error", err)
	}
}

// withUsers serves nobody once the file no longer has the users that it had at the start: the library would then ask nobody for a
// password, and a file that is just being written is empty for a moment.
func (l *AdminListener) withUsers(h http.Handler) http.Handler {
	if !l.users {
		return h
	}
	var told sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := l.web.read(); err != nil || len(c.Users) == 0 {
			told.Do(func() {
				l.log.Error("metrics are not served", "error", "metrics-web-config "+string(l.web)+" no longer has the basic_auth_users that it had at the start", "hint", "write them back, or restart the guard")
			})
			http.Error(w, "the web configuration has lost its users", http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// errorsOnly leaves out what the library says of its start.
type errorsOnly struct{ slog.Handler }

func (h errorsOnly) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}
