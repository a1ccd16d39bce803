package fs

import (
	"context"
	"log/slog"
	"sync"
)

// The bounds of what [Log] keeps.
const (
	logLines = 1000
	logBytes = 256 << 10
)

// Log passes records on and keeps the last of them as text, for the file log of a mount. It keeps informative ones also where
// they are not passed on.
type Log struct {
	to   slog.Handler
	text slog.Handler
	keep *lastLines
}

// NewLog returns a Log that passes records on to a handler.
func NewLog(to slog.Handler) *Log {
	keep := &lastLines{}
	return &Log{to, slog.NewTextHandler(keep, &slog.HandlerOptions{Level: slog.LevelDebug}), keep}
}

// Enabled implements [slog.Handler], as do the following.
func (l *Log) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || l.to.Enabled(ctx, level)
}

// Handle keeps a record and passes it on.
func (l *Log) Handle(ctx context.Context, r slog.Record) error {
	_ = l.text.Handle(ctx, r) // memory takes everything
	if !l.to.Enabled(ctx, r.Level) {
		return nil
	}
	return l.to.Handle(ctx, r)
}

// WithAttrs returns a Log that keeps in the same place.
func (l *Log) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Log{l.to.WithAttrs(attrs), l.text.WithAttrs(attrs), l.keep}
}

// WithGroup returns a Log that keeps in the same place.
func (l *Log) WithGroup(name string) slog.Handler {
	return &Log{l.to.WithGroup(name), l.text.WithGroup(name), l.keep}
}

// lastLines keeps the last lines of what is written, each with one Write.
type lastLines struct {
	mu    sync.Mutex // guards the following
	lines [][]byte
	bytes int
}

// Write implements [io.Writer].
func (l *lastLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := line[:min(len(line), logBytes/4)] // stacks are long
	if len(kept) < len(line) {
		kept = append(kept[:len(kept):len(kept)], "...\n"...)
	} else {
		kept = append([]byte(nil), kept...)
	}
	l.lines, l.bytes = append(l.lines, kept), l.bytes+len(kept)
	for len(l.lines) > logLines || l.bytes > logBytes {
		l.bytes -= len(l.lines[0])
		l.lines[0], l.lines = nil, l.lines[1:]
	}
	return len(line), nil
}

func (l *lastLines) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]byte, 0, l.bytes)
	for _, line := range l.lines {
		out = append(out, line...)
	}
	return out
}
