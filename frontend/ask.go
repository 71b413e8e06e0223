package frontend

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Ask sends a request to a running guard's control socket and returns the body of the answer.
func Ask(ctx context.Context, socket, method, path string) ([]byte, error) {
	r, err := AskStream(ctx, socket, method, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// AskStream is Ask for an answer that is long or arrives over time. The caller closes it.
func AskStream(ctx context.Context, socket, method, path string) (io.ReadCloser, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	r, err := http.NewRequestWithContext(ctx, method, "http://guard"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, hint.Errorf(unanswered(err), "no guard answers on %s: %w", socket, errors.Unwrap(err))
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, hint.Errorf(resp.Header.Get(hintHeader), "the guard on %s refused: %s", socket, bytes.TrimSpace(body))
	}
	return resp.Body, nil
}

// unanswered says what to do when the control socket cannot be asked.
func unanswered(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return "ask as root, or as the user that the guard runs as (sudo -u USER)"
	}
	return "start the guard, or name its control socket with setting control"
}
