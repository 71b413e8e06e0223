package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// MetricsHandler serves /metrics, /healthz (the process lives) and /readyz (clients can be served).
func (s *Server) MetricsHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(s), s.durations, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.kernel != nil {
		registry.MustRegister(kernelCollector{s.kernel, s.list})
	}
	if s.mapLog != nil {
		registry.MustRegister(s.mapLog)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metricsOf(registry))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	return mux
}

// scrapesAtOnce is how many requests for metrics are answered at a time, for each lists the kernel's flows: those of a pair of
// Prometheus servers and of two people. Others get status 503.
const scrapesAtOnce = 4

func metricsOf(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: scrapesAtOnce})
}

// readyz answers 200 or 503 with the reasons: for the service that ?service= names, or for the guard as a whole.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	s.kernel.lookNow()
	answer := struct {
		Ready    bool        `json:"ready"`
		Services []Readiness `json:"services"`
	}{s.Available() == nil, s.Readiness()}
	if name := r.URL.Query().Get("service"); name != "" {
		i := slices.IndexFunc(answer.Services, func(r Readiness) bool { return r.called(name) })
		if i < 0 {
			http.Error(w, fmt.Sprintf("there is no service %q", name), http.StatusNotFound)
			return
		}
		answer.Services = answer.Services[i : i+1]
		answer.Ready = answer.Services[0].Ready
	}
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// hintHeader is the header with the hint of a refusal.
const hintHeader = "Dtlsguard-Hint"

// refuse answers a request that failed with its error.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusConflict
	if errors.Is(err, hint.ErrUsage) { // it names something unknown
		code = http.StatusNotFound
	}
	refuseAs(w, err, code)
}

func refuseAs(w http.ResponseWriter, err error, code int) {
	if h := hint.Of(err); h != "" {
		w.Header().Set(hintHeader, hint.Flags(h))
	}
	http.Error(w, hint.Flags(hint.Line(err)), code)
}

// ControlHandler serves GET /status, /flows and /addresses, POST /flows/kill, /addresses, /reload, /upgrade, /drain and /rotate,
// and DELETE /addresses.
func (s *Server) ControlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		s.kernel.lookNow()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Status())
	})
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("GET /flows", s.serveFlows)
	mux.HandleFunc("POST /flows/kill", s.serveFlowKill)
	mux.HandleFunc("GET /capture", s.serveCapture)
	mux.HandleFunc("GET /addresses", s.serveAddresses)
	mux.HandleFunc("POST /addresses", s.serveRule)
	mux.HandleFunc("DELETE /addresses", s.serveRule)
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		done, err := s.Reload(context.WithoutCancel(r.Context()))
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(done)
	})
	mux.HandleFunc("POST /drain", s.serveDrain)
	mux.HandleFunc("POST /upgrade", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the new program may take its time
		var u Upgrade
		if start := r.URL.Query().Get("start"); start != "" {
			var err error
			if u.Start, err = time.ParseDuration(start); err != nil || u.Start <= 0 {
				refuseAs(w, fmt.Errorf("start %q is not a duration", start), http.StatusBadRequest)
				return
			}
		}
		done, err := s.Upgrade(u)
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(done)
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Rotate(); err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.Status().Secrets)
	})
	return mux
}
