package fs

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// orphan is a file that was removed while it was open. Its descriptors in this mount share it until the last one is closed;
// nobody else sees it.
type orphan struct {
	mu    sync.Mutex // guards the following
	data  []byte
	mtime time.Time
}

func (o *orphan) size() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(len(o.data))
}

func (o *orphan) readAt(buf []byte, off uint64) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if off >= uint64(len(o.data)) {
		return 0
	}
	return copy(buf, o.data[off:])
}

// carryOut makes a change, other than a replacement.
func (o *orphan) carryOut(e varsync.Edit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = edited(o.data, e)
	o.mtime = time.Now()
}

// edited carries a change out on data, which is the caller's to change.
func edited(data []byte, e varsync.Edit) []byte {
	switch e.Kind {
	case varsync.EditWrite:
		return writeAt(data, e.Off, e.Data)
	case varsync.EditAppend:
		return append(data, e.Data...)
	case varsync.EditTruncate:
		return resize(data, e.Size)
	}
	return slices.Clone(e.Data)
}

// private returns the orphan that the handle is on, nil if its file is there; h.mu must be held.
func (f *FS) private(h *handle) *orphan {
	if h.gone == nil && f.isRemoved(h) {
		f.adopt(h)
	}
	return h.gone
}

// isRemoved reports whether somebody has removed the handle's file. One that moves to another service looks removed for a
// moment, so before a write becomes one that nobody else sees the server is asked.
func (f *FS) isRemoved(h *handle) bool {
	v := f.variable(h)
	switch {
	case v == nil:
		if h.l == nil || h.l.temp { // a temporary is private already
			return false
		}
		_, _, removed := f.locals.where(h.l)
		return removed
	case !v.Removed():
		return false
	case f.handles.orphan(h.node) != nil:
		return true
	case !h.writable:
		return false // it reads on in what it has
	}
	ctx, cancel := f.opContext()
	defer cancel()
	_, err := f.c.Probe(ctx, &model.Probe{ID: v.ID()})
	return errors.Is(err, model.ErrNotFound)
}

// lost is private for a handle whose variable the server does not know: the news can be on its way here.
func (f *FS) lost(h *handle) *orphan {
	deadline := time.Now().Add(time.Second)
	for v := f.variable(h); v != nil && !v.Gone() && time.Now().Before(deadline); v = f.variable(h) {
		time.Sleep(time.Millisecond)
	}
	return f.private(h)
}

// adopt makes the handle one on the orphan that its file has become.
func (f *FS) adopt(h *handle) {
	f.await(h)
	o, made := f.handles.orphaned(h.node, func() []byte { return f.lastKnown(h) })
	switch {
	case h.seesOwn():
		h.reclaim()
		o.carryOut(varsync.Edit{Kind: varsync.EditReplace, Data: h.buf})
	case !made:
		for _, e := range h.late {
			o.carryOut(e)
		}
	}
	if h.cleared {
		h.idle.Stop()
	}
	h.gone = o
	h.replacing, h.cleared, h.dirty = false, false, false
	h.buf, h.snap, h.spare, h.edits, h.late = nil, nil, nil, nil, nil
}

// lastKnown is what this mount knows of a file that others have removed: by the descriptor that was nearest.
func (f *FS) lastKnown(h *handle) []byte {
	best, seen := h.content(), h.seen
	for _, other := range f.handles.of(h.node) {
		if other == h || !other.mu.TryLock() {
			continue
		}
		if other.reads && other.gone == nil && other.seen > seen {
			best, seen = other.content(), other.seen
		}
		other.mu.Unlock()
	}
	return best
}

// content is what the descriptor knows of its file: what it has read last, and what it has written since.
func (h *handle) content() []byte {
	data := slices.Clone(h.snap)
	for _, e := range h.edits {
		data = edited(data, e)
	}
	return data
}

// remember keeps a change for content. What is kept is bounded: the snapshot is taken anew before there is more of it.
func (f *FS) remember(h *handle, e varsync.Edit) {
	h.changed = true
	if !h.reads {
		return
	}
	h.edits = append(h.edits, e)
	h.edited += len(e.Data)
	if h.edited > max(keptEdits, len(h.snap)) {
		f.await(h)
		if err := f.refresh(h); err != nil {
			f.log.Debug("snapshot behind own writes", "err", err)
		}
	}
}

// keptEdits is how many bytes of its own writes a descriptor keeps at least.
const keptEdits = 256 << 10

// unlinking is called before a variable is removed through this mount. If it is open its value is kept; removed makes that
// the orphan's.
func (f *FS) unlinking(v *varsync.Variable) (removed func()) {
	if len(f.handles.of(v.ID())) == 0 {
		return func() {}
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if err := v.Flush(ctx); err != nil {
		f.log.Debug("writes before a removal", "err", err)
	}
	data, _, err := v.Load(nil)
	return func() {
		if err == nil {
			f.handles.orphaned(v.ID(), func() []byte { return slices.Clone(data) })
		}
	}
}
