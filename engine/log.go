package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/raft/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logCore hands etcd's log to slog. etcd is talkative: its "info" is our debug.
type logCore struct {
	log *slog.Logger
}

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (c logCore) Enabled(l zapcore.Level) bool {
	// Fatal must get through even where nothing is logged: zap ends the process only for entries that are written.
	return l >= zapcore.DPanicLevel || c.log.Enabled(context.Background(), slogLevel(l))
}

func (c logCore) With(fields []zapcore.Field) zapcore.Core {
	return logCore{slog.New(c.log.Handler().WithAttrs(attrs(fields)))}
}

func (c logCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return ce
	}
	return ce.AddCore(e, c)
}

// expected holds the warnings about what is as we want it.
var expected = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true, // neither is served
	"simple token is not cryptographically signed":                                         true,
	// It looks every few seconds, also before there is anything to see.
	"Failed to detect schema version":    true,
	"failed to update storage version":   true,
	"exceeded recommended request limit": true,
	"quota exceeds the maximum value":    true,
}

func (c logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slogLevel(e.Level)
	if isExpected(e.Message, fields) || isRaceAtStart(e.Message) {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs(fields)...)
	return nil
}

// isEarly recognizes what etcd says, without a pause, while it starts and has applied nothing yet: all that was ever
// committed looks like a backlog to it. Batches that are refused for that are reported by who sends them.
func isEarly(err error) bool { return errors.Is(err, etcderrors.ErrTooManyRequests) }

// isStopped recognizes what Close has cut off: requests of etcd's own (those of ours are reported by who sends them) and a
// compaction.
func isStopped(message string, err error) bool {
	return errors.Is(err, etcderrors.ErrCanceled) || errors.Is(err, etcderrors.ErrStopped) ||
		message == "Failed compaction" && err.Error() == "interrupted due to stop signal"
}

// isRaceAtStart recognizes a panic of raft that is none. After a start it looks, before it votes for itself, for changes of the
// cluster among the entries that it does not know to be applied yet. etcd has applied them already, and drops them from memory at
// once, as there is nobody who could want them (catchUpEntries): if raft gets no processor in between, they are not there any
// more. There are no such changes in a cluster of one, and that is what it finds if it goes on.
func isRaceAtStart(message string) bool {
	return strings.HasPrefix(message, "error scanning unapplied entries") && strings.HasSuffix(message, raft.ErrCompacted.Error())
}

// panicHook panics, as zap does by itself, but not for nothing.
type panicHook struct{}

func (panicHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	if !isRaceAtStart(e.Message) {
		zapcore.WriteThenPanic.OnWrite(e, fields)
	}
}

func isExpected(message string, fields []zapcore.Field) bool {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType && (isEarly(err) || isStopped(message, err)) {
			return true
		}
	}
	return expected[message]
}

func (c logCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	as := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for k, v := range enc.Fields {
			as = append(as, slog.Any(k, v))
		}
	}
	return as
}

// fatalHook handles a Fatal of etcd. While Open starts etcd it panics, and Open turns this into an error. Later it ends the
// process: etcd could not write its log, and any further acknowledgement would be false.
type fatalHook struct {
	starting *atomic.Bool
}

func (h fatalHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	if h.starting.Load() {
		msg := e.Message
		for _, a := range attrs(fields) {
			if a.Key == "error" {
				msg += ": " + a.Value.String()
			}
		}
		panic(fmt.Errorf("etcd: %s", msg))
	}
	os.Exit(1)
}

func newZap(log *slog.Logger, starting *atomic.Bool) *zap.Logger {
	return zap.New(logCore{log}, zap.WithFatalHook(fatalHook{starting}), zap.WithPanicHook(panicHook{}))
}
