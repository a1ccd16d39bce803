package fs

import (
	"errors"
	"slices"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// A file that was removed while it is open is an orphan: a private file without a name, which its descriptors in this mount
// share until the last one is closed. Nobody else sees it.

func newOrphan(data []byte) *unshared {
	o := &unshared{data: data, mtime: time.Now()}
	o.state.Store(uint32(temporary))
	return o
}

// isRemoved reports whether somebody has removed the handle's file. One that moves to another service looks removed for a
// moment, so before a write becomes one that nobody else sees the server is asked.
func (h *handle) isRemoved() bool {
	v := h.variable()
	if v == nil {
		_, _, removed := h.fs.unshared.where(h.l)
		return removed
	}
	if !v.Removed() {
		return false
	}
	if h.fs.handles.orphan(h.node) != nil {
		return true
	}
	if _, ok := h.state.(*reader); ok {
		return false // it reads on in what it has
	}
	ctx, cancel := h.fs.opContext()
	defer cancel()
	_, err := h.fs.c.Probe(ctx, &model.Probe{ID: v.ID()})
	return errors.Is(err, model.ErrNotFound)
}

// orMoved is err, or errMoved if the server does not know the variable because it was removed: the news can be on its way
// here.
func (h *handle) orMoved(err error) error {
	if _, ok := h.state.(*reader); ok || !errors.Is(err, model.ErrNotFound) {
		return err
	}
	deadline := time.Now().Add(time.Second)
	for v := h.variable(); v != nil && !v.Gone() && time.Now().Before(deadline); v = h.variable() {
		time.Sleep(time.Millisecond)
	}
	if _, ok := h.now().(*private); ok {
		return errMoved
	}
	return err
}

// hasMoved reports whether the descriptor's variable, which was not found where the mount had it, is in another service. What the server
// has done is seen in the memory file before the mount is told of it.
func (h *handle) hasMoved(was *varsync.Variable) bool {
	if was == nil || was.Removed() {
		return h.variable() != was
	}
	if !was.Gone() {
		ctx, cancel := h.fs.opContext()
		defer cancel()
		h.fs.c.Barrier(ctx)
	}
	h.fs.c.Await(h.node, h.fs.opBound())
	now := h.variable()
	return now != nil && now != was
}

// adopt makes the descriptor one on the orphan that its file has become.
func (h *handle) adopt() {
	e, edits := h.state.(*editor)
	if edits {
		e.await()
	}
	v := h.variable()
	if v != nil && !v.Removed() {
		return // it was moved over another meanwhile
	}
	o, made := h.fs.handles.orphaned(h.node, v, h.lastKnown)
	var changes []varsync.Edit
	switch s := h.state.(type) {
	case *editor:
		if !made {
			changes = s.late
		}
	case *replacer:
		s.rest.end()
		if s.stage != clean {
			changes = []varsync.Edit{{Kind: varsync.EditReplace, Data: s.buf}}
		}
	}
	for _, e := range changes {
		_ = o.carryOut(e) // it never becomes a variable
	}
	h.state = &private{h, o}
}

// lastKnown is what this mount knows of a file that others have removed: by the descriptor that was nearest.
func (h *handle) lastKnown() []byte {
	snap := &h.state.view().snap
	version, data := snap.version, snap.content()
	for _, other := range h.fs.handles.of(h.node) {
		if other == h || !other.mu.TryLock() {
			continue
		}
		if r := other.state.view(); r != nil && other.reads && r.snap.version > version {
			version, data = r.snap.version, r.snap.content()
		}
		other.mu.Unlock()
	}
	return data
}

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
			f.handles.orphaned(v.ID(), v, func() []byte { return slices.Clone(data) })
		}
	}
}
