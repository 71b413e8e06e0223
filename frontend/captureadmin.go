package frontend

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// captureOptions reads ?service=, verdict=, reason= (both may be repeated), rate=, count=, for= and payload=.
func captureOptions(q url.Values) (o CaptureOptions, err error) {
	o.Service, o.Verdicts, o.Reasons, o.Payload = q.Get("service"), q["verdict"], q["reason"], q.Get("payload") != ""
	if o.Rate, err = strconv.ParseFloat(q.Get("rate"), 64); err != nil {
		return o, hint.Usage(fmt.Errorf("rate %q is not a number", q.Get("rate")))
	}
	if c := q.Get("count"); c != "" {
		if o.Count, err = strconv.Atoi(c); err != nil || o.Count < 0 {
			return o, hint.Usage(fmt.Errorf("count %q is not a number of packets", c))
		}
	}
	if d := q.Get("for"); d != "" {
		if o.For, err = time.ParseDuration(d); err != nil || o.For < 0 {
			return o, hint.Usage(fmt.Errorf("for %q is not a duration", d))
		}
	}
	return o, nil
}

// Query encodes o for a request.
func (o *CaptureOptions) Query() url.Values {
	q := url.Values{"service": {o.Service}, "verdict": o.Verdicts, "reason": o.Reasons, "rate": {fmt.Sprint(o.Rate)},
		"count": {strconv.Itoa(o.Count)}, "for": {o.For.String()}}
	if o.Payload {
		q.Set("payload", "1")
	}
	return q
}

// serveCapture writes a capture until it ends or the client leaves.
func (s *Server) serveCapture(w http.ResponseWriter, r *http.Request) {
	o, err := captureOptions(r.URL.Query())
	began, control := false, http.NewResponseController(w)
	if err == nil {
		w.Header().Set("Content-Type", "application/x-pcapng")
		_ = control.SetWriteDeadline(time.Time{})
		err = s.Capture(r.Context(), o, w, func() error {
			began = true
			_ = control.SetWriteDeadline(time.Now().Add(adminWrite)) // renewed for each write: a client that reads nothing ends it
			return control.Flush()
		})
	}
	switch {
	case err == nil || r.Context().Err() != nil:
	case !began:
		w.Header().Del("Content-Type")
		refuse(w, err)
	default:
		s.config.Log.Error("capture ended", "error", err)
		panic(http.ErrAbortHandler) // so that the client sees a broken stream, not its end
	}
}
