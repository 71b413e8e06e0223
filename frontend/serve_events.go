package frontend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/events"
)

const (
	// mostFollowers leaves control connections for other requests.
	mostFollowers = AdminConnections / 3
	// followerPatience is how long a follower may take to read a line.
	followerPatience = 10 * time.Second
	// followerLine is the interval of empty lines, by which a follower that has gone is noticed.
	followerLine = 15 * time.Second
)

// Events returns the channel of operators' events.
func (s *Server) Events() *events.Channel { return s.events }

// serveEvents answers GET /events?last=N&follow=1 with a line of JSON for each event: the last N, and with follow those that
// come, until the client or the guard ends it.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	last := uint64(events.Size)
	if text := q.Get("last"); text != "" {
		var err error
		if last, err = strconv.ParseUint(text, 10, 32); err != nil {
			http.Error(w, fmt.Sprintf("last=%q is not a number", text), http.StatusBadRequest)
			return
		}
	}
	follow := q.Get("follow") != ""
	if follow {
		if s.followers.Add(1) > mostFollowers {
			s.followers.Add(-1)
			http.Error(w, fmt.Sprintf("%d follow events already", mostFollowers), http.StatusServiceUnavailable)
			return
		}
		defer s.followers.Add(-1)
	}
	w.Header().Set("Content-Type", "application/jsonl")
	at := s.events.Last()
	at -= min(at, last)
	out := http.NewResponseController(w)
	if follow {
		_ = out.SetReadDeadline(time.Time{}) // that of the request would end what follows it
	}
	for {
		list, missed, more := s.events.After(at)
		if follow {
			_ = out.SetWriteDeadline(time.Now().Add(followerPatience))
		}
		if missed > 0 {
			fmt.Fprintf(w, "{\"missed\":%d}\n", missed)
		}
		for i := range list {
			if json.NewEncoder(w).Encode(list[i]) != nil {
				return
			}
			at = list[i].Number
		}
		if !follow {
			return
		}
		if out.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		case <-time.After(followerLine):
			fmt.Fprintln(w)
		}
	}
}
