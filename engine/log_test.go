package engine

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.uber.org/zap"
)

// What etcd repeats without a pause while it starts, and what Close cuts off, does not fill a log.
func TestLogIsOfWhatMatters(t *testing.T) {
	const publish, compaction = "failed to publish local member to cluster through raft", "Failed compaction"
	const version = "failed to update cluster version"
	stopped := errors.New("interrupted due to stop signal") // etcd's has no name
	for _, test := range []struct {
		level   slog.Level
		message string
		err     error
		want    bool
	}{
		{slog.LevelInfo, publish, etcderrors.ErrTooManyRequests, false},
		{slog.LevelDebug, publish, etcderrors.ErrTooManyRequests, true},
		{slog.LevelInfo, publish, errors.New("disk on fire"), true},
		{slog.LevelInfo, compaction, stopped, false},
		{slog.LevelInfo, version, etcderrors.ErrCanceled, false},
		{slog.LevelInfo, version, etcderrors.ErrStopped, false},
		{slog.LevelInfo, compaction, errors.New("disk on fire"), true},
	} {
		var out logText
		newZap(out.logger(test.level), new(atomic.Bool)).Warn(test.message, zap.Error(test.err))
		if got := strings.Contains(out.String(), test.message); got != test.want {
			t.Errorf("%s: %v at level %v: logged %v, want %v", test.message, test.err, test.level, got, test.want)
		}
	}
}
