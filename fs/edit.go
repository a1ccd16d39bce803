package fs

import (
	"errors"
	"slices"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// What an editing descriptor does: each write is a change of its own, on its way while the next one is made.

func (f *FS) writeEdit(h *handle, off int64, data []byte) error {
	if !h.appending {
		if err := f.checkSize(off, int64(len(data))); err != nil {
			return err
		}
	}
	v := f.variable(h)
	if v == nil {
		return f.writeDraft(h, off, data)
	}
	f.reap(h)
	if err := h.err; err != nil {
		told := h.told
		h.err, h.told = nil, false
		if !told {
			return err
		}
	}
	e := varsync.Edit{Kind: varsync.EditWrite, Off: off, Data: slices.Clone(data)}
	if h.appending {
		e.Kind = varsync.EditAppend
	}
	// The first write waits for its own acknowledgement: shells ignore what close says.
	if f.o.Sync == SyncAlways || f.o.Sync == SyncClose && !h.begun {
		ctx, cancel := f.opContext()
		defer cancel()
		res, err := v.Commit(ctx, e)
		if err != nil {
			return err
		}
		h.begun, h.seen = true, res.Version
		f.remember(h, e)
		return nil
	}
	if len(h.pending) >= maxPending {
		if err := f.settle(h); err != nil {
			return err
		}
		if h.gone != nil {
			return f.writePrivate(h, h.gone, off, data)
		}
	}
	h.pending = append(h.pending, pendingEdit{v.Enqueue(e), e})
	f.remember(h, e)
	return nil
}

// writeDraft makes the variable with an editing handle's first write: an append creates and appends in one step, so that
// two mounts that append to a new file both keep what they wrote.
func (f *FS) writeDraft(h *handle, off int64, data []byte) error {
	ctx, cancel := f.opContext()
	defer cancel()
	e := varsync.Edit{Kind: varsync.EditWrite, Off: off, Data: slices.Clone(data)}
	var err error
	if h.appending {
		e.Kind = varsync.EditAppend
		h.v, err = f.commitDraft(ctx, h.l, model.OpAppend, e.Data, e)
	} else {
		h.v, err = f.commitDraft(ctx, h.l, model.OpStore, writeAt(nil, off, data), e)
	}
	if h.v == nil && err == nil { // it has been removed
		return f.writePrivate(h, f.private(h), off, data)
	}
	h.begun, h.published, h.changed = err == nil, true, true
	return err
}

// reap forgets writes that were answered, keeping the first error.
func (f *FS) reap(h *handle) {
	for len(h.pending) > 0 {
		select {
		case <-h.pending[0].Done():
			f.collect(h)
		default:
			return
		}
	}
	h.pending = nil
}

func (f *FS) collect(h *handle) {
	ctx, cancel := f.opContext()
	defer cancel()
	p := h.pending[0]
	h.pending = h.pending[1:]
	res, err := p.Wait(ctx)
	switch {
	case err == nil:
		h.seen = max(h.seen, res.Version)
	case errors.Is(err, model.ErrNotFound):
		h.late = append(h.late, p.edit)
	case h.err == nil:
		h.err = err
	}
}

// await waits for all writes of an editing handle.
func (f *FS) await(h *handle) {
	for len(h.pending) > 0 {
		f.collect(h)
	}
	h.pending = nil
}

// settle waits for all writes of an editing handle and returns the first error. It is told until the next write.
func (f *FS) settle(h *handle) error {
	f.await(h)
	if len(h.late) > 0 && f.lost(h) == nil {
		h.late = nil
		if h.err == nil {
			h.err = model.ErrNotFound
		}
	}
	h.told = h.err != nil
	return h.err
}
