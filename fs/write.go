package fs

import (
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
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
	var err error
	switch {
	case h.temporary():
		if err = f.writeTemp(h, int64(in.Offset), data); err == errMoved {
			err = f.writeEdit(h, int64(in.Offset), data)
		}
	case h.replacing:
		h.writer.Store(in.Pid)
		err = f.writeReplacing(h, int64(in.Offset), data)
	default:
		err = f.writeEdit(h, int64(in.Offset), data)
	}
	if err != nil {
		return 0, f.errno("write", err)
	}
	return uint32(len(data)), fuse.OK
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
	if err == nil {
		h.reclaim()
		h.buf = writeAt(h.buf, off, data)
		h.dirty, h.killed = true, false
		if h.cleared {
			h.idle.Reset(clearTime)
		}
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

// clearTime is how long a descriptor that has emptied its file can rest before what it has written since is published.
const clearTime = 200 * time.Millisecond

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
	h.replacing, h.cleared, h.dirty, h.published, h.killed = true, true, true, false, false
	h.idle = time.AfterFunc(clearTime, func() {
		h.mu.Lock()
		defer h.unlock()
		if h.cleared && h.dirty && h.failed == nil {
			if err := f.commit(h); err != nil {
				h.err = err
			}
		}
	})
	return nil
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
	p := &transport.Probe{Want: transport.RightWrite}
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
		p.Want |= transport.RightCreate
	}
	if _, err := f.c.Probe(ctx, p); err != nil {
		return err
	}
	h.asked = time.Now()
	return nil
}

// variable returns the handle's variable, nil for a draft not yet committed; h.mu must be held.
func (f *FS) variable(h *handle) *varsync.Variable {
	if h.v == nil && h.l != nil {
		h.v = h.l.committed()
	}
	if h.v != nil {
		h.v = h.v.Now()
	}
	return h.v
}

// commit publishes the value of a replacing handle and waits for the answer, which it gives once: a value that was
// refused is not tried again behind the caller's back.
func (f *FS) commit(h *handle) error {
	h.dirty, h.published = false, true
	v := f.variable(h)
	h.lent = true
	ctx, cancel := f.opContext()
	defer cancel()
	if v == nil {
		var err error
		h.v, err = f.commitDraft(ctx, h.l, transport.OpStore, h.buf)
		return err
	}
	e := varsync.Edit{Kind: varsync.EditReplace, Data: h.buf}
	if h.cleared {
		h.idle.Stop()
		h.replacing, h.cleared, h.begun, h.buf, h.lent = false, false, true, nil, false
	}
	if f.o.Sync == SyncNever {
		v.Enqueue(e)
		return nil
	}
	_, err := v.Commit(ctx, e)
	return err
}

// Flush is called for every close of a descriptor, also those that fork and dup made.
func (f *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) (status fuse.Status) {
	defer f.end(f.begin("flush", &in.InHeader), &status)
	if in.Fh == pokeHandle {
		return fuse.OK
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	h.mu.Lock()
	defer h.unlock()
	if !h.writable || h.temporary() {
		return fuse.OK
	}
	if !h.replacing {
		if f.o.Sync == SyncNever {
			return fuse.OK
		}
		return f.errno("close", f.settle(h))
	}
	if h.failed != nil {
		return f.errno("close", h.failed)
	}
	if !h.dirty && h.published {
		return fuse.OK
	}
	// A writer that is being killed has not finished its value. Whether it has anything written or not, its descriptor
	// must not publish at release either, unless another process goes on with it.
	h.killed = f.callers.dying(in.Pid)
	if h.killed || !h.dirty {
		return fuse.OK // the shell closing its spare descriptor publishes nothing
	}
	return f.errno("close", f.commit(h))
}

// Fsync commits what the descriptor has.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) (status fuse.Status) {
	defer f.end(f.begin("fsync", &in.InHeader), &status)
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.OK
	}
	h.mu.Lock()
	defer h.unlock()
	switch {
	case !h.writable || h.temporary():
		return fuse.OK
	case !h.replacing:
		return f.errno("fsync", f.settle(h))
	case h.failed != nil:
		return f.errno("fsync", h.failed)
	case h.dirty || !h.published:
		return f.errno("fsync", f.commit(h))
	}
	return fuse.OK
}

// Release is called once nobody has the description any more; nobody sees its result.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if in.Fh == pokeHandle {
		return
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return
	}
	defer f.handles.remove(in.Fh)
	var status fuse.Status
	defer f.end(f.begin("release", &in.InHeader), &status)
	h.mu.Lock()
	defer h.unlock()
	if err := f.finish(h); err != nil {
		f.log.Warn("a value could not be committed after its last close", "node", h.node, "err", err)
	}
	if h.l != nil && !h.l.temp && f.locals.unref(h.l) {
		parent, name, _ := f.locals.where(h.l)
		if p, err := f.place(parent); err == nil {
			f.notes.refreshName(parent, fileName(name, p.level))
		}
	}
}

// finish commits what the last close has left to commit.
func (f *FS) finish(h *handle) error {
	if h.cleared {
		h.idle.Stop()
	}
	switch {
	case !h.writable || h.temporary():
		return nil
	case !h.replacing:
		if err := f.settle(h); err != nil || f.variable(h) != nil {
			return err
		}
		ctx, cancel := f.opContext()
		defer cancel()
		_, err := f.commitDraft(ctx, h.l, transport.OpCreate, nil)
		return err
	case !h.killed && (h.dirty || !h.published):
		return f.commit(h)
	}
	h.dirty = false
	return nil
}
