package frontend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// AdminListener is an HTTP listener to operate a guard by.
type AdminListener struct {
	listener net.Listener
	server   *http.Server
}

// OpenMetrics opens the metrics address; nothing is served before Serve.
func OpenMetrics(addr string) (*AdminListener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, hint.Errorf("choose another address for metrics, or switch them off", "serve metrics on %s: %w", addr, err)
	}
	return &AdminListener{listener: l}, nil
}

// OpenControl opens the control socket, for its owner only. A socket that a dead guard left is replaced; one
// that a living guard answers on is not.
func OpenControl(path string) (*AdminListener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, hint.Errorf("stop it, or choose another control socket", "control socket %s: another dtlsguard answers there", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: remove the one a dead guard left: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, hint.Errorf("choose another control socket, or switch it off", "control socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &AdminListener{listener: l}, nil
}

// Addr is where the door is.
func (d *AdminListener) Addr() net.Addr { return d.listener.Addr() }

// Serve serves h until Close. A nil Door serves nobody.
func (d *AdminListener) Serve(h http.Handler) {
	if d == nil {
		return
	}
	// 5 s is long for a local request, and short for one that means harm.
	d.server = &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = d.server.Serve(d.listener) }()
}

// Close ends serving. A nil Door is closed already.
func (d *AdminListener) Close() {
	switch {
	case d == nil:
	case d.server != nil:
		_ = d.server.Close()
		// The server knows the listener only once its goroutine runs; a socket file must go in any case.
		fallthrough
	default:
		_ = d.listener.Close()
	}
}

// MetricsHandler serves /metrics, /healthz (the process lives) and /readyz (clients can be served).
func (s *Server) MetricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(s), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.kernel != nil {
		registry.MustRegister(s.kernel)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return mux
}

// ControlHandler serves GET /status and POST /rotate.
func (s *Server) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Status())
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Rotate(); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.secrets.status())
	})
	return mux
}

// Ask sends a request to a running guard's control socket and returns the body of the answer.
func Ask(ctx context.Context, socket, method, path string) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	r, err := http.NewRequestWithContext(ctx, method, "http://guard"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, hint.Errorf("start the guard, or name its control socket", "no guard answers on %s: %w", socket, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the guard on %s refused: %s", socket, bytes.TrimSpace(body))
	}
	return body, err
}
