package fs

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// freshAnswer is how long the server's answer to "would you keep it" counts: O_TRUNC opens ask, and the write that follows
// at once need not ask again.
const freshAnswer = 50 * time.Millisecond

// replacer is the state of a descriptor that was opened with O_TRUNC, or created the file: it gathers a value, and commits
// it whole (S9). Nothing is committed as the empty value, and only if nobody else has committed since the open.
type replacer struct {
	reader // what it reads while it has gathered nothing
	stage  stage
	buf    []byte    // the value
	base   uint64    // the version at the open
	asked  time.Time // when the server said last that it would keep a change
	queues bool      // what it said was that it cannot be reached: the value is to be queued
	tenure uint64    // the mount's of its locks when the first of buf was written
	stamp  time.Time // the time that somebody has given the value; zero: when it is committed
	failed error     // why a write was refused: what has a part missing is never published
	// Why release publishes nothing.
	killed  bool // the last process to flush was being killed
	refused bool // a commit was, and the caller was told: only the caller tries again

	rest *rest // of one that ftruncate(fd, 0) made

	// What of buf is not kept for an heir.
	from, to int
}

// stage is what a replacer has to commit.
type stage uint8

const (
	clean   stage = iota // nothing: its value is there already, or will never be
	emptied              // the empty value, at fsync or release
	dirty                // what was written, at flush, fsync or release
)

// replace is for a descriptor that a thread has opened with O_TRUNC.
func (old *reader) replace(thread uint32) error {
	r := &replacer{reader: *old, stage: emptied}
	if v := r.variable(); v != nil {
		r.base = v.Current().Version
	} else {
		r.base = r.l.version()
	}
	if r.fs.o.Sync != SyncNever {
		if err := r.ask(0); err != nil {
			return orStale(err)
		}
	}
	r.sees(r.base)
	r.writer.Store(thread)
	r.state = r
	return nil
}

func (r *replacer) read(buf []byte, off uint64) (int, error) {
	if r.stage == clean {
		return r.reader.read(buf, off)
	}
	if off >= uint64(len(r.buf)) {
		return 0, nil
	}
	return copy(buf, r.buf[off:]), nil
}

func (r *replacer) write(off int64, data []byte) error {
	if r.failed != nil {
		return r.failed
	}
	if r.appends {
		off = int64(len(r.buf))
	}
	err := r.fs.checkSize(off, int64(len(data)))
	now := r.fs.o.Sync == SyncAlways || r.registered()
	size := max(int64(len(r.buf)), off+int64(len(data)))
	if err == nil && !now && r.stage != dirty && r.fs.o.Sync != SyncNever && time.Since(r.asked) > r.fs.freshAnswer {
		// Shells ignore what close says: a value that cannot be kept has to fail here.
		if err = r.orMoved(r.ask(size)); err == errMoved {
			return err
		}
	} else if err == nil && r.queues {
		if s := r.service(); s != nil {
			_, err = s.Keeps(size)
		}
	}
	if err == nil {
		r.killed, r.refused = false, false
		r.changed(min(int(off), len(r.buf)), int(off)+len(data))
		r.gather(writeAt(r.buf, off, data), len(data)%blockSize == 0)
		if now {
			if err = r.commit(); err == errMoved {
				return nil // what it has become has the data
			}
		}
	}
	if err != nil {
		r.failed, r.buf, r.stage = err, nil, clean // the value has a part missing from now on: the old one stays
	}
	return err
}

func (r *replacer) truncate(size int64) error {
	if r.failed != nil && size > 0 {
		return r.failed
	}
	r.failed, r.killed, r.refused = nil, false, false
	if size == 0 {
		r.tenure = 0
	}
	r.resize(size)
	return nil
}

// resize truncates what the descriptor gathers.
func (r *replacer) resize(size int64) {
	r.changed(min(int(size), len(r.buf)), int(size))
	r.gather(resize(r.buf, size), false)
}

// changed remembers which bytes of the value are new.
func (r *replacer) changed(from, to int) {
	if r.from >= r.to {
		r.from, r.to = from, to
		return
	}
	r.from, r.to = min(r.from, from), max(r.to, to)
}

// gather makes buf the value. part says that it looks as if more was to come at once.
func (r *replacer) gather(buf []byte, part bool) {
	if r.tenure == 0 {
		r.tenure = r.fs.c.Tenure()
	}
	r.buf, r.stage, r.stamp = buf, dirty, time.Time{}
	if r.l != nil {
		r.fs.unshared.unstamp(r.l)
	}
	if r.rest != nil {
		r.rest.begin(part)
	}
}

// flush publishes nothing for a shell that closes its spare descriptor.
func (r *replacer) flush(thread uint32) error {
	if r.failed != nil || r.stage == clean {
		return r.failed
	}
	// A writer that is being killed has not finished its value. Whether it has anything written or not, its descriptor
	// must not publish at release either, unless another process goes on with it.
	r.killed = r.fs.callers.dying(thread)
	if r.killed || r.stage == emptied {
		return nil
	}
	return r.commit()
}

func (r *replacer) fsync() error {
	if r.failed != nil || r.stage == clean {
		return r.failed
	}
	return r.commit()
}

func (r *replacer) release() error {
	r.rest.end()
	if r.killed || r.refused || r.stage == clean {
		return nil
	}
	return r.commit()
}

// commit publishes the value and waits for the answer. A value that is refused is kept, for the caller to try again; nobody
// else does.
func (r *replacer) commit() error {
	pending, err := r.publish()
	if err != nil {
		r.buf = slices.Clone(r.buf) // the client may have the other one
		r.refused = true
		return r.orMoved(err)
	}
	r.rest.end()
	if r.registered() { // its value may have become another
		r.state = &editor{reader: reader{handle: r.handle}, begun: true}
		return nil
	}
	r.state = &editor{
		reader: reader{handle: r.handle, snap: snapshot{data: r.buf, version: r.snap.version}}, begun: true, pending: pending,
	}
	return nil
}

// publish returns the edits that nobody has waited for.
func (r *replacer) publish() ([]pendingEdit, error) {
	v := r.variable()
	if err := r.fs.fenced(v); err != nil {
		return nil, err
	}
	e := varsync.Edit{Kind: varsync.EditReplace, Data: r.buf, Tenure: r.tenure}
	e.Seen = r.under(&e)
	switch {
	case v == nil && (r.stage == dirty || r.l.is(kept) && r.l.version() == r.base):
		err := r.fs.commitDraft(r.l, &e, r.reported())
		if err == nil && e.Seen != nil {
			r.made(e.Seen.Version())
		}
		return nil, err
	case v == nil: // it is whose value it is that was first
		err := r.fs.commitDraft(r.l, nil, r.reported())
		if err == nil && r.variable() != nil {
			r.sees(r.v.Current().Version)
		}
		return nil, err
	case r.stage == emptied && r.l != nil && r.l.id == v.ID():
		return nil, nil // another descriptor has made the variable of the draft
	case r.stage == emptied && e.Seen == nil:
		e.HasVersion, e.IfVersion = r.l == nil, r.base // a draft that was moved over the variable is its value
	}
	if !r.stamp.IsZero() {
		e.HasMTime, e.MTime = true, r.stamp.UnixNano()
	}
	e.Journal = r.reported()
	if r.fs.o.Sync == SyncNever && !r.cond.given {
		return []pendingEdit{{Ack: v.Enqueue(e), edit: e}}, nil // its own reads wait for it
	}
	res, err := v.Commit(r.fs.ctx, e)
	if e.HasVersion && errors.Is(err, model.ErrConflict) {
		return nil, nil // somebody has committed since the open: that is the value
	}
	if err == nil {
		r.snap.version = res.Version
		r.made(res.Version)
	}
	return nil, err
}

// reported is the journal of the value.
func (r *replacer) reported() varsync.Journal {
	if r.record == nil {
		return nil
	}
	return &r.record.Report
}

// ask asks the server whether it would keep a change of the file now, to size bytes. If it cannot be reached the offline queue, if
// there is one, is asked in its place.
func (r *replacer) ask(size int64) error {
	s := r.service()
	if s == nil {
		return r.askServer()
	}
	var err error
	if r.queues, err = s.Keeps(size); r.queues {
		r.asked = time.Now()
		return err
	}
	if err = r.askServer(); err == nil {
		return nil
	}
	if err = s.OrKeep(err, size); err == nil {
		r.queues, r.asked = true, time.Now()
	}
	return err
}

// service is the one that the file is in, nil if that is not known.
func (r *replacer) service() *varsync.Service {
	if v := r.variable(); v != nil {
		return v.Service()
	}
	parent, _, _ := r.fs.unshared.where(r.l)
	return serviceOf(r.fs.node(parent))
}

func (r *replacer) askServer() error {
	if v := r.variable(); v != nil {
		version, at, err := r.keeps(v)
		if err == nil {
			r.answered(version, at)
		}
		if err != errUnsure {
			return err
		}
	}
	ctx, cancel := r.fs.opContext()
	defer cancel()
	var answer *model.Probed
	var err error
	if v := r.variable(); v != nil {
		answer, err = r.fs.c.Probe(ctx, &model.Probe{Want: model.RightWrite, ID: v.ID()})
	} else {
		parent, name, removed := r.fs.unshared.where(r.l)
		if removed {
			return nil
		}
		p, gone := r.fs.place(parent)
		if gone != nil {
			return gone
		}
		answer, err = r.fs.probeAt(ctx, &model.Probe{Want: model.RightWrite | model.RightCreate}, &p, name)
	}
	if err != nil {
		return err
	}
	r.answered(answer.Version, time.Now())
	return nil
}

// answered takes the server's answer, that it would keep a change.
func (r *replacer) answered(version uint64, at time.Time) {
	r.asked = at
	if r.stage != dirty {
		r.base = version
	}
}

// orStale is ESTALE for what has been removed elsewhere: the kernel looks again, and makes it anew if that is asked for.
func orStale(err error) error {
	if errors.Is(err, model.ErrNotFound) {
		return syscall.ESTALE
	}
	return err
}
