package hint

import (
	"context"
	"log/slog"
)

// Handler passes records to next. It adds the hint of an error under the key "error", under the key "hint" unless the caller
// gave one, and renders settings in messages, errors and hints as flags.
func Handler(next slog.Handler) slog.Handler { return handler{next} }

type handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h handler) Handle(ctx context.Context, r slog.Record) error {
	fix, given := "", false
	out := slog.NewRecord(r.Time, r.Level, Flags(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		err, failed := a.Value.Any().(error)
		switch {
		case a.Key == "error" && failed:
			fix = Of(err)
			a.Value = slog.StringValue(Flags(err.Error()))
		case a.Key == "hint" || a.Key == "why":
			given = given || a.Key == "hint"
			a.Value = slog.StringValue(Flags(a.Value.String()))
		}
		out.AddAttrs(a)
		return true
	})
	if fix != "" && !given {
		out.AddAttrs(slog.String("hint", Flags(fix)))
	}
	return h.Handler.Handle(ctx, out)
}

// WithAttrs implements slog.Handler.
func (h handler) WithAttrs(a []slog.Attr) slog.Handler { return handler{h.Handler.WithAttrs(a)} }

// WithGroup implements slog.Handler.
func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
