package fs

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// What carries out renames: see renames.

// hold holds the files of this mount that a rename is about.
func (m move) hold() (release func(), err error) {
	var held []*unshared
	release = func() {
		for _, l := range held {
			l.naming.Unlock()
		}
	}
	for _, n := range []varsync.Node{m.src, m.dst} {
		l, ok := n.(*unshared)
		if !ok || slices.Contains(held, l) {
			continue
		}
		if err := l.hold(); err != nil {
			release()
			return nil, err
		}
		held = append(held, l)
	}
	return release, nil
}

// discardReplaced removes the file of this mount that had the new name; it is held.
func (f *FS) discardReplaced(m move) error {
	if l, ok := m.dst.(*unshared); ok && l != m.src {
		return f.discardHeld(l)
	}
	return nil
}

// renameDraft has a draft be made under another name.
func (f *FS) renameDraft(m move) error {
	release, err := m.hold()
	if err != nil {
		return err
	}
	defer release()
	if err := f.discardReplaced(m); err != nil {
		return err
	}
	f.unshared.move(m.src.(*unshared), m.newDir, m.newName)
	return nil
}

// renameTemporary has a temporary stay one, if the new name is such.
func (f *FS) renameTemporary(m move) error {
	if f.o.Temporary.keeps(m.newName) {
		return f.renameDraft(m)
	}
	return f.publishTemporary(m)
}

// renameVariable parks a variable whose new name is that of a temporary.
func (f *FS) renameVariable(m move) error {
	if f.o.Temporary.keeps(m.newName) && !f.o.Temporary.keeps(m.oldName) && mayPark(m.src.(*varsync.Variable)) {
		return f.park(m)
	}
	return f.renameShared(m)
}

// draftOver moves a draft over a variable: what is written to the draft becomes the variable's next value, which the
// others see when it is committed.
func (f *FS) draftOver(m move) error {
	release, err := m.hold()
	if err != nil {
		return err
	}
	defer release()
	l, v := m.src.(*unshared), m.dst.(*varsync.Variable)
	if v.Service().Tenant().Rights()&model.RightWrite == 0 {
		return syscall.EACCES
	}
	if f.handles.edited(l.id) {
		return syscall.EBUSY // an edit of the draft would become one of the variable's old value
	}
	version := v.Current().Version
	if seen := f.seenBy(m.thread, v); seen != nil && seen.Version() != version {
		return errConflict
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if _, err := v.Commit(ctx, varsync.Edit{Kind: varsync.EditMeta, Mode: l.perm()}); err != nil {
		return err
	}
	l.mu.Lock()
	l.over = version
	l.mu.Unlock()
	f.become(l, v)
	return nil
}

// publishTemporary makes a temporary's content a variable's value.
func (f *FS) publishTemporary(m move) error {
	release, err := m.hold()
	if err != nil {
		return err
	}
	defer release()
	if m.dst == m.src {
		return nil
	}
	l := m.src.(*unshared)
	data := l.content()
	ctx, cancel := f.opContext()
	defer cancel()
	v, err := f.publish(ctx, m, data, l.described())
	if err != nil {
		return err
	}
	return errors.Join(f.discardReplaced(m), f.handOver(ctx, l, data, v))
}

// publish makes data the value of what the move leads to. The variable that it returns is nil if it is gone again.
func (f *FS) publish(ctx context.Context, m move, data []byte, d described) (*varsync.Variable, error) {
	if v, ok := m.dst.(*varsync.Variable); ok {
		seen := f.seenBy(m.thread, v)
		res, err := v.Commit(ctx, varsync.Edit{Kind: varsync.EditReplace, Data: data, Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime, Seen: seen,
			Journal: journalOf(m.task)})
		if err == nil && seen != nil {
			f.sightings.note(f.callers.process(m.thread), v.ID(), res.Version)
		}
		if !errors.Is(err, model.ErrNotFound) { // else it has just been removed: the name is free
			return v, err
		}
	}
	ch := model.Change{
		Op: model.OpStore, Data: data, Create: true, HasVersion: m.noReplace || f.failsConflicts(), // version 0: it must not exist
		Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime,
	}
	res, err := f.reportAt(journaled(ctx, m.task), ch, &m.to, m.newName)
	if m.noReplace && errors.Is(err, model.ErrConflict) {
		return nil, syscall.EEXIST
	}
	if err != nil {
		return nil, err
	}
	v, _ := f.made(res.ID).(*varsync.Variable)
	return v, nil
}

// reportRename asks the server for a rename, and where conflicts fail, only over what the caller has seen.
func (f *FS) reportRename(ctx context.Context, m move, ch model.Change) error {
	ctx = journaled(ctx, m.task)
	src, _ := m.src.(*varsync.Variable)
	dst, _ := m.dst.(*varsync.Variable)
	if !f.failsConflicts() || src == nil {
		_, err := f.c.Report(ctx, ch)
		return err
	}
	changes := []model.Change{ch}
	seen := (*varsync.Seen)(nil)
	if dst == nil {
		changes[0].NoReplace = true
	} else if seen = f.seenBy(m.thread, dst); seen != nil {
		// Writing nothing changes nothing, on a condition.
		changes = []model.Change{{Op: model.OpWrite, ID: dst.ID(), HasVersion: true, IfVersion: seen.Version()}, ch}
	}
	res, err := f.c.Report(ctx, changes...)
	var refused *varsync.RefusedError
	switch {
	case errors.Is(err, model.ErrExists) && !m.noReplace, errors.As(err, &refused) && refused.Index == 0 && errors.Is(err, model.ErrNotFound):
		return syscall.ESTALE // it has just come, or gone: the kernel looks again
	case err != nil:
		return err
	}
	version := res[len(res)-1].Version
	f.follow(src.ID(), src.Meta().Version, version)
	if seen != nil {
		f.sightings.note(f.callers.process(m.thread), dst.ID(), version)
	}
	return nil
}

// handOver makes v what the descriptors of a temporary stand for from now on. v was given the bytes in was: what has
// been written since follows; where that fails, the temporary stays, with all it has. v nil: it is gone again, and the
// temporary with it.
func (f *FS) handOver(ctx context.Context, l *unshared, was []byte, v *varsync.Variable) error {
	if v == nil {
		f.unshared.end(l, removed)
		return nil
	}
	for {
		l.mu.Lock()
		if bytes.Equal(l.data, was) {
			l.v, l.data = v, nil
			l.mu.Unlock()
			f.become(l, v)
			return nil
		}
		was = slices.Clone(l.data)
		l.mu.Unlock()
		if _, err := v.Commit(ctx, varsync.Edit{Kind: varsync.EditReplace, Data: was}); err != nil {
			return err
		}
	}
}

// renameShared asks the server to move a variable, a directory, a service or a tenant.
func (f *FS) renameShared(m move) error {
	release, err := m.hold()
	if err != nil {
		return err
	}
	defer release()
	ch := model.Change{Op: model.OpRename, NoReplace: m.noReplace, Expect: m.src.ID()}
	if m.from.level != m.to.level && (m.from.dir == nil || m.to.dir == nil) {
		return syscall.EXDEV // a directory cannot become a service, nor a service a tenant
	}
	if v, ok := m.src.(*varsync.Variable); ok {
		// What is on its way to the variable belongs to it before it moves.
		ctx, cancel := f.opContext()
		err = v.Flush(ctx)
		cancel()
		if err != nil {
			f.log.Debug("writes before a rename", "err", err)
		}
	}
	ctx, cancel := f.opContext()
	defer cancel()
	err = f.atPlaces(ctx, func() error {
		m.from.aim(&ch, m.oldName)
		m.to.aimTo(&ch, m.newName)
		return f.reportRename(ctx, m, ch)
	}, &m.from, &m.to)
	if err != nil {
		return err
	}
	if err := f.discardReplaced(m); err != nil {
		return err
	}
	if v, ok := m.dst.(*varsync.Variable); ok && v.ID() != m.src.ID() {
		f.handles.become(m.src.ID(), v)
		f.pages.Became(m.src.ID(), v.ID())
	}
	return nil
}
