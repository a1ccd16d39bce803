package engine

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
)

// etcd keeps every old revision of every key until it is compacted away, and the database file never shrinks until it is
// rewritten ("defragmented"), which stops all other work for as long as it takes.
const (
	compactRevisions = 10_000
	compactBytes     = 64 << 20
	defragMinSize    = 100 << 20        // smaller files are not worth it
	defragEvery      = 10 * time.Minute // at most
	// A server that has just started has clients waiting for it, and may exit again soon.
	defragSettle = 30 * time.Second
	// compactionPoll is how often to look whether a compaction is done.
	compactionPoll = 10 * time.Millisecond
	// Where there is no room, less gain is enough, more often.
	pressedMinGain = 16 << 20
	pressedEvery   = 2 * time.Second
)

// maintenance is the state of the goroutine that compacts and defragments.
type maintenance struct {
	kick      chan struct{} // holds one: there may be something to do
	bytes     atomic.Int64  // written since the last compaction
	compacted atomic.Int64  // revision of the last compaction
	pressed   atomic.Bool   // a batch was refused, or space was freed where there is little
}

func (m *maintenance) wake() {
	select {
	case m.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// press says that room is needed now.
func (m *maintenance) press() {
	m.pressed.Store(true)
	m.wake()
}

// due tells whether the history is long enough to be compacted.
func (m *maintenance) due(rev int64) bool {
	return rev-m.compacted.Load() > compactRevisions || m.bytes.Load() > compactBytes
}

// committed says that a batch was stored.
func (m *maintenance) committed(rev int64) {
	if m.due(rev) {
		m.wake()
	}
}

func (e *Engine) maintainLoop() {
	var lastPressed time.Time
	lastDefrag := firstDefrag(time.Now())
	retry := time.NewTimer(0) // the first look is at once: the last process may have left something
	defer retry.Stop()
	settled := time.NewTimer(defragSettle)
	defer settled.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-e.maint.kick:
		case <-retry.C:
		case <-settled.C:
		}
		if wait := pressedEvery - time.Since(lastPressed); e.maint.pressed.Load() && wait > 0 {
			retry.Reset(wait)
			continue
		}
		pressed := e.maint.pressed.Swap(false)
		if pressed {
			lastPressed = time.Now()
		}
		if err := e.maintain(pressed, &lastDefrag); err != nil && e.ctx.Err() == nil {
			e.log.Warn("upkeep of the store", "error", err)
		}
	}
}

// firstDefrag is what stands for the time of the last rewrite in an engine that was opened at a time.
func firstDefrag(opened time.Time) time.Time { return opened.Add(defragSettle - defragEvery) }

func (e *Engine) maintain(pressed bool, lastDefrag *time.Time) error {
	if pressed || e.maint.due(e.Rev()) {
		if err := e.compact(); err != nil {
			return err
		}
	}
	if e.defragDue(pressed, *lastDefrag) {
		*lastDefrag = time.Now()
		if _, err := e.defragment(); err != nil {
			return err
		}
	}
	return e.clearAlarm()
}

// compact gives up the history up to now, or up to what a load still reads.
func (e *Engine) compact() error {
	rev, bytes := e.reads.oldest(e.Rev), e.maint.bytes.Load()
	free, _, err := e.opts.Free()
	if err != nil || free < openFree {
		return err // compaction needs room itself
	}
	if rev > e.maint.compacted.Load() {
		_, err := e.client.Compact(e.ctx, rev)
		if err == nil || errors.Is(err, rpctypes.ErrCompacted) {
			err = e.compactionDone(rev)
		}
		if err != nil {
			return fmt.Errorf("compact to %d: %w", rev, err)
		}
		e.maint.compacted.Store(rev)
	}
	e.maint.bytes.Add(-bytes)
	e.etcd.Server.Backend().ForceCommit()
	return nil
}

// compactionDone waits until a compaction has made its pages free, so that what follows can judge, or the engine is
// closed: the next etcd resumes it. etcd's own way to wait, a "physical" compaction, cannot be cut off, and a long history
// of small keys takes 20 s or more, during which no other process could open the store.
func (e *Engine) compactionDone(rev int64) error {
	tick := time.NewTicker(compactionPoll)
	defer tick.Stop()
	for {
		if e.finishedCompaction() >= rev {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.ctx.Done():
			return ErrClosed
		}
	}
}

// finishedCompaction is the revision of the last compaction that is done.
func (e *Engine) finishedCompaction() int64 {
	tx := e.etcd.Server.Backend().ReadTx()
	tx.RLock()
	defer tx.RUnlock()
	rev, _ := mvcc.UnsafeReadFinishedCompact(tx) // 0 if there was none
	return rev
}

// defragDue tells whether rewriting the database file is worth the stop, and possible: the new file is made beside the
// old one.
func (e *Engine) defragDue(pressed bool, last time.Time) bool {
	size, used := e.etcd.Server.Backend().Size(), e.etcd.Server.Backend().SizeInUse()
	gain := size - used
	if pressed {
		if gain < pressedMinGain || gain < size/10 {
			return false
		}
	} else if size < defragMinSize || gain <= size/2 || time.Since(last) < defragEvery {
		return false
	}
	free, _, err := e.opts.Free()
	if err != nil || free < used+openFree {
		e.log.Debug("too little room to shrink the store", "free", free, "needed", used+openFree, "gain", gain)
		return false
	}
	return true
}

// defragment rewrites the database file while no batch is under way, and no scan: etcd lets nobody read while it waits for the
// end of one, and a scan reads pieces.
func (e *Engine) defragment() (gain int64, err error) {
	e.scans.Lock()
	defer e.scans.Unlock()
	state, err := e.take(e.ctx)
	if err != nil {
		return 0, err
	}
	defer func() { e.turn <- state }()
	return e.rewrite()
}

// rewrite is defragment for the holder of the turn.
func (e *Engine) rewrite() (gain int64, err error) {
	backend, start := e.etcd.Server.Backend(), time.Now()
	before := backend.Size()
	if err := backend.Defrag(); err != nil {
		return 0, fmt.Errorf("defragment: %w", err)
	}
	if err := e.space.reserve.forget(); err != nil {
		return 0, fmt.Errorf("defragment: %w", err)
	}
	gain = before - backend.Size()
	e.log.Info("shrunk the store", "from", before, "gain", gain, "took", time.Since(start))
	return gain, nil
}

// clearAlarm lets writes through again after etcd has met its quota, when there is room below it.
func (e *Engine) clearAlarm() error {
	for _, a := range e.etcd.Server.Alarms() {
		if a.Alarm != pb.AlarmType_NOSPACE || e.etcd.Server.Backend().Size() > e.opts.Quota {
			continue
		}
		_, err := e.etcd.Server.Alarm(e.ctx, &pb.AlarmRequest{
			MemberID: a.MemberID, Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE,
		})
		if err != nil {
			return fmt.Errorf("clear the alarm for space: %w", err)
		}
	}
	return nil
}

// reclaim is all upkeep at once, for Open of a store that is too full to be opened.
func (e *Engine) reclaim() error {
	if err := e.compact(); err != nil {
		return err
	}
	if _, err := e.rewrite(); err != nil {
		return err
	}
	return e.clearAlarm()
}
