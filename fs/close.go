package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

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
	if !h.writable || h.temporary() || f.private(h) != nil {
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
	case !h.writable || h.temporary() || f.private(h) != nil:
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
	f.openings.closed(h)
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
	case !h.writable || h.temporary() || f.private(h) != nil:
		return nil
	case !h.replacing:
		if err := f.settle(h); err != nil || h.gone != nil || f.variable(h) != nil {
			return err
		}
		ctx, cancel := f.opContext()
		defer cancel()
		_, err := f.commitDraft(ctx, h.l, model.OpCreate, nil, varsync.Edit{})
		return err
	case !h.killed && !h.refused && (h.dirty || !h.published):
		return f.commit(h)
	}
	h.dirty = false
	return nil
}
