package fs

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

const (
	// freshAnswer is how long the server's answer to "would you keep it" counts: O_TRUNC opens ask, and the write that
	// follows at once need not ask again.
	freshAnswer = 50 * time.Millisecond
	// maxPending bounds the writes of one descriptor that are on their way.
	maxPending = 1024
)

// Write takes the data of write(2).
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (n uint32, status fuse.Status) {
	defer f.end(f.begin("write", &in.InHeader), &status)
	h := f.handles.get(in.Fh)
	if h == nil || !h.writable {
		return 0, fuse.EBADF
	}
	h.mu.Lock()
	defer h.unlock()
	if err := f.write(h, int64(in.Offset), data, in.Pid); err != nil {
		return 0, f.errno("write", err)
	}
	return uint32(len(data)), fuse.OK
}

func (f *FS) write(h *handle, off int64, data []byte, thread uint32) error {
	h.unstamp()
	if h.temporary() {
		if err := f.writeTemp(h, off, data); err != errMoved {
			return err
		}
	}
	if o := f.private(h); o != nil {
		return f.writePrivate(h, o, off, data)
	}
	h.writer.Store(thread)
	if h.replacing {
		return f.writeReplacing(h, off, data)
	}
	err := f.writeEdit(h, off, data)
	if errors.Is(err, model.ErrNotFound) {
		if o := f.lost(h); o != nil {
			return f.writePrivate(h, o, off, data)
		}
	}
	return err
}

// writePrivate writes to a file that has been removed.
func (f *FS) writePrivate(h *handle, o *orphan, off int64, data []byte) error {
	e := varsync.Edit{Kind: varsync.EditWrite, Off: off, Data: data}
	if h.appending {
		e.Kind, off = varsync.EditAppend, o.size()
	}
	if err := f.checkSize(off, int64(len(data))); err != nil {
		return err
	}
	o.carryOut(e)
	return nil
}

// checkSize refuses n bytes at off that no value has room for. The sum of the two may be beyond what an int64 holds.
func (f *FS) checkSize(off, n int64) error {
	if limit := f.c.Welcome().Limits.Value; off < 0 || n > limit || off > limit-n {
		return syscall.EFBIG
	}
	return nil
}

// errMoved says that a temporary has become a variable.
var errMoved = errors.New("it is a variable now")

func (f *FS) writeTemp(h *handle, off int64, data []byte) error {
	l := h.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.v != nil {
		return errMoved
	}
	if h.appending {
		off = int64(len(l.data))
	}
	if err := f.checkSize(off, int64(len(data))); err != nil {
		return err
	}
	l.data = writeAt(l.data, off, data)
	l.mtime = time.Now()
	return nil
}

// writeAt writes data at off into buf, which grows with zeros if it must.
func writeAt(buf []byte, off int64, data []byte) []byte {
	buf = resize(buf, max(int64(len(buf)), off+int64(len(data))))
	copy(buf[off:], data)
	return buf
}

func resize(buf []byte, size int64) []byte {
	have := int64(len(buf))
	if size <= have {
		return buf[:size]
	}
	buf = slices.Grow(buf, int(size-have))[:size]
	clear(buf[have:])
	return buf
}

func (f *FS) writeReplacing(h *handle, off int64, data []byte) error {
	if h.failed != nil {
		return h.failed
	}
	if h.appending {
		off = int64(len(h.buf))
	}
	err := f.checkSize(off, int64(len(data)))
	if err == nil && !h.dirty && f.o.Sync != SyncNever && time.Since(h.asked) > freshAnswer {
		// Shells ignore what close says: a value that cannot be kept has to fail here.
		err = f.ask(h)
	}
	if errors.Is(err, model.ErrNotFound) {
		if o := f.lost(h); o != nil {
			return f.writePrivate(h, o, off, data)
		}
	}
	if err == nil {
		h.reclaim()
		h.buf = writeAt(h.buf, off, data)
		h.dirty, h.killed, h.refused = true, false, false
		h.wrote, h.part = time.Now(), len(data)%blockSize == 0
		h.rest()
		if f.o.Sync == SyncAlways {
			err = f.commit(h)
		}
	}
	if err != nil {
		// The value has a part missing from now on: the old one stays.
		h.failed, h.buf, h.dirty, h.published = err, nil, false, true
	}
	return err
}

// clearTime is how long a descriptor that has emptied its file can rest before what it has written since is published, and
// partTime how long if the last write looks like a part of more: it filled a buffer, as the pieces of one write(2) do and
// those that stdio makes.
const (
	clearTime = 200 * time.Millisecond
	partTime  = 2 * time.Second
)

// clear is ftruncate(fd, 0) on an editing descriptor: somebody (vim, for one) is about to write the file anew. Committed
// at once it would show everybody an empty value, and then a growing one. So the descriptor replaces, as if opened with
// O_TRUNC, until its next commit; and, because some keep such a descriptor open for ever (a file with a process id), until
// it has rested for a moment.
func (f *FS) clear(h *handle) error {
	if err := f.settle(h); err != nil {
		return err
	}
	if f.o.Sync != SyncNever {
		if err := f.ask(h); err != nil {
			return err
		}
	}
	h.replacing, h.cleared, h.dirty, h.published, h.killed, h.refused = true, true, true, false, false, false
	h.buf, h.lent, h.failed = nil, false, nil
	h.wrote, h.part = time.Now(), false
	h.idle = time.AfterFunc(clearTime, func() { f.rested(h) })
	return nil
}

// rest has a cleared descriptor be looked at later, also one whose commit was refused meanwhile.
func (h *handle) rest() {
	if h.cleared {
		h.idle.Reset(clearTime)
	}
}

// rested publishes what a cleared descriptor has, once it has rested for long enough.
func (f *FS) rested(h *handle) {
	h.mu.Lock()
	defer h.unlock()
	if !h.cleared || !h.dirty || h.failed != nil || h.refused {
		return
	}
	rest := clearTime
	if h.part {
		rest = partTime
	}
	if wait := rest - time.Since(h.wrote); wait > 0 {
		h.idle.Reset(wait)
		return
	}
	if err := f.commit(h); err != nil {
		f.log.Warn("a value could not be committed yet", "node", h.node, "err", err)
	}
}

// reclaim makes buf ours again if the client has it.
func (h *handle) reclaim() {
	if h.lent {
		h.buf, h.lent = slices.Clone(h.buf), false
	}
}

// ask asks the server whether it would keep a change of the handle's file now.
func (f *FS) ask(h *handle) error {
	ctx, cancel := f.opContext()
	defer cancel()
	p := &model.Probe{Want: model.RightWrite}
	if v := f.variable(h); v != nil {
		p.ID = v.ID()
	} else {
		parent, name, removed := f.locals.where(h.l)
		if removed {
			return nil
		}
		pl, err := f.place(parent)
		if err != nil {
			return err
		}
		p.Tenant, p.Service, p.Name = pl.target(name)
		p.Want |= model.RightCreate
	}
	answer, err := f.c.Probe(ctx, p)
	if err != nil {
		return err
	}
	h.asked = time.Now()
	if !h.dirty {
		h.base = answer.Version
	}
	return nil
}

// variable returns the handle's variable, nil for a draft not yet committed; h.mu must be held.
func (f *FS) variable(h *handle) *varsync.Variable {
	if h.v == nil && h.l != nil {
		h.v = h.l.committed()
	}
	if h.v != nil {
		h.v = h.v.Now()
		if h.v.Removed() {
			h.v = f.handles.now(h.v)
		}
	}
	return h.v
}

// commit publishes the value of a replacing handle and waits for the answer. A value that is refused is kept, for the caller
// to try again; nobody else does.
func (f *FS) commit(h *handle) error {
	err := f.publishValue(h)
	if errors.Is(err, model.ErrNotFound) && f.lost(h) != nil {
		return nil
	}
	h.refused = err != nil
	if err == nil && h.gone == nil {
		h.edit()
	}
	return err
}

func (f *FS) publishValue(h *handle) error {
	ctx, cancel := f.opContext()
	defer cancel()
	v := f.variable(h)
	h.lent = true
	if v == nil {
		op := model.OpStore
		if !h.dirty {
			op = model.OpCreate // nothing was written: it is whose value it is that was first
		}
		var err error
		h.v, err = f.commitDraft(ctx, h.l, op, h.buf, varsync.Edit{Kind: varsync.EditReplace, Data: h.buf})
		if h.v == nil && err == nil {
			f.private(h) // it has been removed
		}
		return err
	}
	e := varsync.Edit{Kind: varsync.EditReplace, Data: h.buf, HasMTime: h.stamped, MTime: h.mtime}
	if !h.dirty {
		if h.l != nil && h.l.id == v.ID() {
			return nil // another descriptor has made the variable of the draft
		}
		e.HasVersion, e.IfVersion = h.l == nil, h.base // a draft that was moved over the variable is its value
	}
	if f.o.Sync == SyncNever {
		h.pending = append(h.pending, pendingEdit{v.Enqueue(e), e}) // its own reads wait for it
		return nil
	}
	res, err := v.Commit(ctx, e)
	if e.HasVersion && errors.Is(err, model.ErrConflict) {
		return nil // somebody has committed since the open: that is the value
	}
	h.seen = res.Version
	return err
}
