package frontend

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// That workers cannot answer from the service's port is logged when the first service needs it, be it added by a reload, and once.
func TestLackOfRawSocketsIsLoggedWhenItMatters(t *testing.T) {
	var log bytes.Buffer
	s := &Server{noRaw: errors.New("not permitted")}
	s.config.Log = slog.New(slog.NewTextHandler(&log, nil))
	s.answerFromPort(&service{workers: []*worker{{}}})
	s.answerFromPort(&service{inline: true})
	if log.Len() > 0 {
		t.Errorf("nobody needs it, and the log says %q", &log)
	}
	for range 2 {
		s.answerFromPort(&service{inline: true, workers: []*worker{{}}})
	}
	if n := strings.Count(log.String(), "not permitted"); n != 1 {
		t.Errorf("logged %d times: %q", n, &log)
	}
}
