package hint

import (
	"context"
	"log/slog"
)

// Handler passes records to next, and gives those with an error under the key "error" its hint under the key "hint",
// unless the caller gave one.
func Handler(next slog.Handler) slog.Handler { return handler{next} }

type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	fix, given := "", false
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && a.Key == "error" {
			fix = Of(err)
		}
		given = given || a.Key == "hint"
		return true
	})
	if fix != "" && !given {
		r.AddAttrs(slog.String("hint", fix))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(a []slog.Attr) slog.Handler { return handler{h.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
