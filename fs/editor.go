package fs

import (
	"cmp"
	"errors"
	"slices"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// maxPending bounds the writes of one descriptor that are on their way.
const maxPending = 1024

// keptEdits is how many bytes of its own writes a descriptor keeps at least.
const keptEdits = 256 << 10

// editor is the state of a descriptor that changes the value that is there: each write is a change of its own, on its way
// while the next one is made.
type editor struct {
	reader
	begun   bool // the first write has been answered
	pending []pendingEdit
	late    []varsync.Edit // that came too late: the variable is not there any more
	err     error          // of a write
	told    bool           // err was told
}

type pendingEdit struct {
	*varsync.Ack
	edit   varsync.Edit
	record *estate.Edit // what an heir must know; nil: it is not kept
}

func (e *editor) read(buf []byte, off uint64) (int, error) {
	e.await() // its own writes come first
	return e.reader.read(buf, off)
}

func (e *editor) write(off int64, data []byte) error {
	if !e.appends {
		if err := e.fs.checkSize(off, int64(len(data))); err != nil {
			return err
		}
	}
	ch := e.change(off, slices.Clone(data))
	v := e.variable()
	if v == nil { // an append creates and appends in one step: two mounts that do so to a new file both keep what they wrote
		e.fs.unshared.unstamp(e.l)
		if err := e.fs.commitDraft(e.l, &ch, journalOf(e.task)); err != nil {
			return e.orMoved(err)
		}
		if ch.Seen != nil {
			e.made(ch.Seen.Version())
		}
		e.begun = true
		e.remember(ch)
		return nil
	}
	e.reap()
	if err := e.err; err != nil {
		told := e.told
		e.err, e.told = nil, false
		if !told {
			return err
		}
	}
	// The first write waits for its own acknowledgement: shells ignore what close says.
	if e.fs.o.Sync == SyncAlways || e.fs.o.Sync == SyncClose && !e.begun || e.registered() || e.cond.given {
		ch.Journal = journalOf(e.task)
		res, err := v.Commit(e.fs.ctx, ch)
		if err != nil {
			return e.orMoved(err)
		}
		e.begun, e.snap.version = true, res.Version
		e.made(res.Version)
		e.remember(ch)
		return nil
	}
	if len(e.pending) >= maxPending {
		if err := e.settle(); err != nil {
			return err
		}
	}
	e.enqueue(v, ch)
	e.remember(ch)
	return nil
}

// enqueue begins a change, and notes it for an heir: whoever made it is told that it was, and may never ask again.
func (e *editor) enqueue(v *varsync.Variable, ch varsync.Edit) {
	p := pendingEdit{edit: ch}
	if e.record != nil && e.task != nil {
		p.record = e.fs.estate.AddEdit(e.record.Opened().Fh, e.task.Unique(), uint32(ch.Kind), ch.Off, ch.Size, e.fs.c.LockedBy(), ch.Data)
	}
	if p.record != nil {
		ch.Journal = &p.record.Report
	}
	p.Ack = v.Enqueue(ch)
	e.pending = append(e.pending, p)
}

// truncate also begins a new value: see clear.
func (e *editor) truncate(size int64) error {
	if size == 0 && !e.appends && e.variable() != nil && e.fs.o.Sync != SyncAlways {
		return e.clear()
	}
	ch := varsync.Edit{Kind: varsync.EditTruncate, Size: size, Seen: e.cond.seen.Load(), Journal: journalOf(e.task)}
	if ch.Seen != nil {
		e.await() // it has what they lead to
	}
	version, err := e.fs.truncateNode(e.file(), ch)
	if err != nil {
		return e.orMoved(err)
	}
	e.made(version)
	e.remember(ch)
	return nil
}

func (e *editor) flush(uint32) error {
	if e.fs.o.Sync == SyncNever {
		return nil
	}
	return e.settle()
}

func (e *editor) fsync() error { return e.settle() }

func (e *editor) release() error {
	if err := e.settle(); err != nil || e.variable() != nil {
		return err
	}
	return e.orMoved(e.fs.commitDraft(e.l, nil, nil))
}

// remember keeps a change for content. What is kept is bounded: the snapshot is taken anew before there is more of it.
func (e *editor) remember(ch varsync.Edit) {
	if !e.reads {
		return
	}
	s := &e.snap
	s.edits, s.edited = append(s.edits, ch), s.edited+len(ch.Data)
	if s.edited > max(keptEdits, len(s.data)) {
		e.await()
		if err := e.refresh(); err != nil {
			e.fs.log.Debug("snapshot behind own writes", "err", err)
		}
	}
}

// reap forgets writes that were answered, keeping the first error.
func (e *editor) reap() {
	for len(e.pending) > 0 {
		select {
		case <-e.pending[0].Done():
			e.collect()
		default:
			return
		}
	}
	e.pending = nil
}

func (e *editor) collect() {
	p := e.pending[0]
	e.pending = e.pending[1:]
	res, err := p.Wait(e.fs.ctx)
	switch {
	case err == nil:
		e.snap.version = max(e.snap.version, res.Version)
		e.made(res.Version)
	case errors.Is(err, model.ErrNotFound):
		e.late = append(e.late, p.edit)
	case e.err == nil:
		e.err = err
	}
	if p.record != nil {
		if err != nil && e.record != nil {
			e.record.SetWriting(estate.Unsettled, 0) // until that is told
		}
		e.fs.estate.RemoveEdit(p.record)
	}
}

// await waits for all writes.
func (e *editor) await() {
	for len(e.pending) > 0 {
		e.collect()
	}
	e.pending = nil
}

// settle waits for all writes and returns the first error. It is told until the next write.
func (e *editor) settle() error {
	e.await()
	if len(e.late) > 0 {
		err := e.orMoved(model.ErrNotFound)
		if err == errMoved {
			return cmp.Or(e.err, err)
		}
		e.late, e.err = nil, cmp.Or(e.err, err)
	}
	e.told = e.err != nil
	return e.err
}
