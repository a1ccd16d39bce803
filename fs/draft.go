package fs

import (
	"errors"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// hold keeps a file from becoming a variable, until its naming is unlocked. One that just has is no file of this mount any
// more: the kernel, told ESTALE, looks again. Two are held only by renames, of which the kernel makes one at a time.
func (l *unshared) hold() error {
	l.naming.Lock()
	if l.committed() == nil {
		return nil
	}
	l.naming.Unlock()
	return syscall.ESTALE
}

// draftWait is how long a reader waits for a draft.
const draftWait = time.Second

// awaitDraft waits a moment for a draft's first commit: somebody is between creating the file and writing it, and a
// reader that came in between must not see the empty moment.
func (l *unshared) awaitDraft(most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
	}
}

// ref counts a handle on a draft, unless that is gone.
func (ls *unsharedFiles) ref(l *unshared) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.is(draft) {
		l.opens++
	}
	return !l.is(removed)
}

// unref ends a handle on a draft. A draft that nobody has open and nobody has committed is forgotten: it reports that.
func (ls *unsharedFiles) unref(l *unshared) (dropped bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.opens--
	return l.opens == 0 && l.committed() == nil && ls.toLocked(l, draft, removed)
}

// commitDraft makes the variable of a draft, with a change of the empty value; nil is none. Should the draft be a variable by
// then, that is changed. What becomes of that a journal is told, nil: nobody.
func (f *FS) commitDraft(l *unshared, e *varsync.Edit, j varsync.Journal) error {
	ctx, cancel := f.opContext()
	defer cancel()
	if j != nil {
		ctx = varsync.Journaled(ctx, j)
	}
	l.naming.Lock()
	defer l.naming.Unlock()
	d := l.described()
	if v := l.committed(); v != nil { // while this waited: it was moved over the variable, or another descriptor was first
		if e == nil {
			return nil
		}
		change := *e
		change.HasMTime, change.MTime, change.Journal = d.hasMTime, d.mtime, j
		if version, ok := l.movedOver(); ok && change.Seen != nil && f.failsConflicts() {
			change.Seen.Set(version)
		}
		_, err := v.Commit(ctx, change)
		return err
	}
	if l.is(kept) {
		if e == nil {
			return nil
		}
		return f.keepEdit(ctx, l, *e)
	}
	parent, name, gone := f.unshared.where(l)
	if gone {
		return model.ErrNotFound // like writing to an unlinked file
	}
	p, err := f.place(parent)
	if err != nil {
		return err
	}
	ch := model.Change{Op: model.OpStore, Create: true, NewMode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime}
	if l.id&unsharedBit == 0 {
		ch.NewID = l.id
	}
	switch {
	case e == nil:
		ch.Op = model.OpCreate
	case e.Kind == varsync.EditAppend:
		ch.Op, ch.Data = model.OpAppend, e.Data
	case e.Kind == varsync.EditReplace:
		ch.Data = e.Data
	default:
		ch.Data = edited(nil, *e)
	}
	if e != nil && e.Seen != nil {
		ch.HasVersion, ch.IfVersion = true, e.Seen.Version()
	}
	tenure := uint64(0)
	if e != nil {
		tenure = e.Tenure
	}
	var res model.Result
	var queued bool
	err = f.atPlaces(ctx, func() (err error) {
		p.aim(&ch, name)
		res, queued, err = f.c.CreateOrKeep(ctx, l.id, ch, tenure)
		return err
	}, &p)
	if errors.Is(err, model.ErrExists) && e == nil {
		if v, ok := f.lookup(p, name).(*varsync.Variable); ok { // somebody else made it: that is as good
			f.become(l, v)
			return nil
		}
	}
	if err != nil {
		return err
	}
	if queued {
		f.keep(l, ch.Data)
		return nil
	}
	if e != nil && e.Seen != nil {
		e.Seen.Set(res.Version)
	}
	v, ok := f.made(res.ID).(*varsync.Variable)
	if !ok {
		f.unshared.end(l, removed)
		return model.ErrNotFound // it was stored, and is gone again: somebody removed it
	}
	f.become(l, v)
	if v.ID() != l.id {
		f.kernel.Refresh(parent, fileName(name, p.level))
	}
	return nil
}
