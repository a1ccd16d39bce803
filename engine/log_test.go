package engine

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/server/v3/etcdserver"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

// etcd can drop entries from memory before raft knows that they are applied, if raft gets no processor for a while at the
// start. raft must not take the process with it.
func TestStartOnABusyMachine(t *testing.T) {
	const self, entries = 1, 166
	storage := raft.NewMemoryStorage()
	if err := storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: ptr(uint64(1)), Term: ptr(uint64(1)), ConfState: &raftpb.ConfState{Voters: []uint64{self}},
	}}); err != nil {
		t.Fatal(err)
	}
	var list []*raftpb.Entry
	for i := uint64(2); i <= entries; i++ {
		list = append(list, &raftpb.Entry{Index: ptr(i), Term: ptr(uint64(1))})
	}
	if err := storage.Append(list); err != nil {
		t.Fatal(err)
	}
	if err := storage.SetHardState(&raftpb.HardState{Term: ptr(uint64(1)), Commit: ptr(uint64(entries))}); err != nil {
		t.Fatal(err)
	}
	var out logText
	node, err := raft.NewRawNode(&raft.Config{
		ID: self, ElectionTick: 2, HeartbeatTick: 1, Storage: storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 16,
		Logger: etcdserver.NewRaftLoggerZap(newZap(out.logger(slog.LevelInfo), new(atomic.Bool))),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Compact(entries - 1); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		node.Tick()
	}
	if state := node.Status().RaftState; state == raft.StateFollower {
		t.Errorf("it is %v: it has not voted", state)
	}
	if strings.Contains(out.String(), "compaction") {
		t.Errorf("logged: %s", &out)
	}
	defer func() {
		if recover() == nil {
			t.Error("another panic is not one any more")
		}
	}()
	newZap(out.logger(slog.LevelInfo), new(atomic.Bool)).Panic("something else")
}

func ptr[T any](v T) *T { return &v }

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
