package frontend

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// FlowsEnded is the answer to POST /flows/kill.
type FlowsEnded struct {
	Ended int `json:"ended"`
}

// filterOf reads a filter from a request, and refuses an invalid one.
func filterOf(w http.ResponseWriter, r *http.Request) (f FlowFilter, ok bool) {
	q := r.URL.Query()
	f.Service = q.Get("service")
	if c := q.Get("client"); c != "" {
		if err := f.ParseClients(c); err != nil {
			refuseAs(w, err, http.StatusBadRequest)
			return f, false
		}
	}
	return f, true
}

// serveFlows writes the flows, one JSON object per line. There may be a million: they are written as they are read.
func (s *Server) serveFlows(w http.ResponseWriter, r *http.Request) {
	f, ok := filterOf(w, r)
	if !ok {
		return
	}
	if _, err := s.named(f.Service); err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	control, out := http.NewResponseController(w), bufio.NewWriterSize(w, 32<<10)
	lines, encoder := 0, json.NewEncoder(out)
	err := s.EachFlow(r.Context(), f, func(flow *Flow) error {
		if lines%flowPage == 0 { // all flows may take longer than the timeout of one answer
			_ = control.SetWriteDeadline(time.Now().Add(adminWrite))
		}
		lines++
		return encoder.Encode(flow)
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		s.config.Log.Error("flows could not be listed", "error", err)
		panic(http.ErrAbortHandler) // so that the client sees that this is not all
	}
}

// serveFlowKill ends the flows of ?client=, or all (?all=1), of ?service= or of all services.
func (s *Server) serveFlowKill(w http.ResponseWriter, r *http.Request) {
	f, ok := filterOf(w, r)
	if !ok {
		return
	}
	if !f.Clients.IsValid() && r.URL.Query().Get("all") == "" {
		http.Error(w, "neither client= nor all= is given", http.StatusBadRequest)
		return
	}
	n, err := s.EndFlows(r.Context(), f)
	if n > 0 {
		s.config.Log.Info("flows ended by the operator", "flows_ended", n, "service", f.Service, "client", r.URL.Query().Get("client"))
	}
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(FlowsEnded{n})
}
