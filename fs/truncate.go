package fs

import (
	"errors"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// truncate implements truncate(2), which commits at once, also to what descriptors gather, and ftruncate.
func (f *FS) truncate(n varsync.Node, node uint64, h *handle, size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	if err := f.checkSize(0, size); err != nil {
		return err
	}
	if h == nil {
		return f.truncatePath(n, node, size)
	}
	h.mu.Lock()
	defer h.unlock()
	return f.truncateHandle(n, h, size)
}

// truncatePath truncates a file by its name; node is the kernel's number for it. What its descriptors in this mount gather is
// truncated first: one that commits before the rest is done has it, and one that does so later does not undo it. A draft
// that is being gathered stays one: committed now, it would be a value that nobody has written.
func (f *FS) truncatePath(n varsync.Node, node uint64, size int64) error {
	gathered := false
	for _, h := range f.handles.of(node) {
		if h.gathered.Load() > 0 && f.truncateGathered(h, size) {
			gathered = true
		}
	}
	if l, ok := n.(*local); ok && gathered && l.committed() == nil {
		return nil
	}
	return f.truncateNode(n, size)
}

// truncateGathered truncates what a descriptor gathers, if it does.
func (f *FS) truncateGathered(h *handle, size int64) bool {
	h.mu.Lock()
	defer h.unlock()
	if f.private(h) != nil || !h.seesOwn() {
		return false
	}
	h.resize(size)
	return true
}

// resize truncates what the descriptor gathers.
func (h *handle) resize(size int64) {
	h.reclaim()
	h.unstamp()
	h.buf, h.dirty = resize(h.buf, size), true
	h.wrote = time.Now()
	h.rest()
}

func (f *FS) truncateHandle(n varsync.Node, h *handle, size int64) error {
	e := varsync.Edit{Kind: varsync.EditTruncate, Size: size}
	o := f.private(h)
	switch {
	case o != nil:
		o.carryOut(e)
		return nil
	case h.replacing:
		if h.failed != nil && size > 0 {
			return h.failed
		}
		h.killed, h.failed, h.refused = false, nil, false
		h.resize(size)
		return nil
	case size == 0 && !h.appending && f.variable(h) != nil && f.o.Sync != SyncAlways:
		return f.clear(h)
	}
	err := f.truncateNode(n, size)
	if errors.Is(err, model.ErrNotFound) {
		if o := f.lost(h); o != nil {
			o.carryOut(e)
			return nil
		}
	}
	if err == nil && f.variable(h) != nil {
		f.remember(h, e)
	}
	return err
}

func (f *FS) truncateNode(n varsync.Node, size int64) error {
	if o := f.handles.orphan(n.ID()); o != nil {
		o.carryOut(varsync.Edit{Kind: varsync.EditTruncate, Size: size})
		return nil
	}
	switch n := n.(type) {
	case *varsync.Variable:
		return f.truncateVariable(n, size)
	case *local:
		if v := n.resize(size); v != nil {
			return f.truncateVariable(v, size)
		}
		if n.temp {
			return nil
		}
		return f.truncateDraft(n, size)
	}
	return syscall.EISDIR
}

func (f *FS) truncateVariable(v *varsync.Variable, size int64) error {
	if v.Service().Tenant().Rights()&model.RightWrite == 0 {
		return syscall.EACCES
	}
	ctx, cancel := f.opContext()
	defer cancel()
	_, err := v.Commit(ctx, varsync.Edit{Kind: varsync.EditTruncate, Size: size})
	return err
}

func (f *FS) truncateDraft(l *local, size int64) error {
	ctx, cancel := f.opContext()
	defer cancel()
	_, err := f.commitDraft(ctx, l, model.OpStore, make([]byte, size), varsync.Edit{Kind: varsync.EditTruncate, Size: size})
	return err
}
