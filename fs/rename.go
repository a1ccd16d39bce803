package fs

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Rename moves what a name stands for. Over a variable it is one update of that variable's value (S13): the variable
// keeps its number, so the kernel, which now has the source's node under the target's name, is told to look again.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) (status fuse.Status) {
	defer f.end(f.begin("rename", &in.InHeader), &status)
	if f.kernel.IsPoke(&in.InHeader) {
		return f.kernel.PokeMoved(in.NodeId, oldName, in.Newdir, newName)
	}
	return f.errno("rename", f.rename(in, oldName, newName))
}

func (f *FS) rename(in *fuse.RenameIn, oldName, newName string) error {
	if err := errors.Join(checkName(newName), f.mayChangeIn(&in.InHeader, in.NodeId), f.mayChangeIn(&in.InHeader, in.Newdir)); err != nil {
		return err
	}
	if in.Flags&^unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	from, err := f.place(in.NodeId)
	if err != nil {
		return err
	}
	to, err := f.place(in.Newdir)
	if err != nil {
		return err
	}
	src, err := f.find(in.NodeId, oldName)
	if err != nil {
		return err
	}
	dst, err := f.find(in.Newdir, newName)
	if err != nil {
		return err
	}
	if src == nil {
		return syscall.ENOENT
	}
	if f.stale(in.NodeId, oldName, src) || dst != nil && f.stale(in.Newdir, newName, dst) {
		return syscall.ESTALE
	}
	if err := f.checkNew(to, newName); err != nil {
		return err
	}
	if dst != nil && in.Flags&unix.RENAME_NOREPLACE != 0 {
		return syscall.EEXIST
	}
	m := move{oldDir: in.NodeId, from: from, to: to, src: src, dst: dst, oldName: from.decode(oldName), newName: to.decode(newName),
		newFile: newName, newDir: in.Newdir, noReplace: in.Flags&unix.RENAME_NOREPLACE != 0}
	if v, ok := dst.(*varsync.Variable); ok && v.ID() != src.ID() {
		before := v.Current().Version
		answered := f.kernel.KeepWatches(in.Pid, v.ID(), pathOf(v), in.Newdir, newName)
		defer func() { answered(v.Current().Version != before) }()
	}
	if err := f.move(m); err != nil {
		f.kernel.Refresh(in.NodeId, oldName) // part of it can have been done
		f.kernel.Refresh(in.Newdir, newName)
		return err
	}
	f.kernel.Renamed(src.ID(), in.NodeId, oldName, in.Newdir, newName)
	return nil
}

func (f *FS) move(m move) error {
	if l, ok := m.src.(*local); ok {
		if p := f.locals.parkedAs(l); p != nil {
			return f.renameBackup(p, m)
		}
	}
	if isDir(m.src) {
		if err := f.unparkName(m.newDir, m.newName); err != nil {
			return err
		}
	} else if v := f.reclaim(m.newDir, m.newName); v != nil && !v.Gone() {
		// For this mount the name is free, for the server it is the variable's that gets a new value.
		m.dst, m.noReplace = v, false
	}
	switch n := m.src.(type) {
	case *local:
		return f.renameLocal(n, m)
	case *varsync.Variable:
		if f.o.Temporary.keeps(m.newName) && !f.o.Temporary.keeps(m.oldName) && (m.dst == nil || isLocal(m.dst)) && mayPark(n) {
			return f.park(n, m)
		}
	}
	return f.renameShared(m)
}

func isLocal(n varsync.Node) bool {
	_, ok := n.(*local)
	return ok
}

// move is a rename under way.
type move struct {
	from, to         place
	src, dst         varsync.Node
	oldName, newName string // components
	newFile          string
	oldDir, newDir   uint64
	noReplace        bool
}

// renameLocal moves a file of this mount: to another temporary name it stays one, to a real name its content becomes the
// variable's value.
func (f *FS) renameLocal(l *local, m move) error {
	if m.to.dir == nil {
		return syscall.EPERM
	}
	if m.dst != nil && isDir(m.dst) {
		return syscall.EISDIR
	}
	if err := l.hold(); err != nil {
		return err
	}
	defer l.release()
	over, _ := m.dst.(*varsync.Variable)
	replaced, _ := m.dst.(*local)
	if replaced == l {
		return nil
	}
	if replaced != nil {
		if err := replaced.hold(); err != nil {
			return err
		}
		defer replaced.release()
	}
	switch {
	case !l.temp && over != nil:
		return f.draftOver(l, over, m)
	case !l.temp, f.o.Temporary.keeps(m.newName) && over == nil:
		// A draft that moves before its first commit is simply made under the other name.
		if replaced != nil {
			if err := f.discardHeld(replaced); err != nil {
				return err
			}
		}
		f.locals.move(l, m.newDir, m.newName)
		return nil
	}
	l.mu.Lock()
	data := append([]byte{}, l.data...)
	l.mu.Unlock()
	ctx, cancel := f.opContext()
	defer cancel()
	v, err := f.publish(ctx, m, data, l.described())
	if err != nil {
		return err
	}
	if replaced != nil {
		err = f.discardHeld(replaced)
	}
	err = errors.Join(err, f.handOver(ctx, l, data, v))
	return err
}

// draftOver moves a draft over a variable: what is written to the draft becomes the variable's next value, which the
// others see when it is committed.
func (f *FS) draftOver(l *local, v *varsync.Variable, m move) error {
	if v.Service().Tenant().Rights()&model.RightWrite == 0 {
		return syscall.EACCES
	}
	if f.handles.edited(l.id) {
		return syscall.EBUSY // an edit of the draft would become one of the variable's old value
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if _, err := v.Commit(ctx, varsync.Edit{Kind: varsync.EditMeta, Mode: l.perm()}); err != nil {
		return err
	}
	f.become(l, v)
	return nil
}

// publish makes data the value of what the move leads to. The variable that it returns is nil if it is gone again.
func (f *FS) publish(ctx context.Context, m move, data []byte, d described) (*varsync.Variable, error) {
	if v, ok := m.dst.(*varsync.Variable); ok {
		_, err := v.Commit(ctx, varsync.Edit{Kind: varsync.EditReplace, Data: data, Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime})
		if !errors.Is(err, model.ErrNotFound) { // else it has just been removed: the name is free
			return v, err
		}
	}
	ch := model.Change{
		Op: model.OpStore, Data: data, Create: true, HasVersion: m.noReplace, // version 0: it must not exist
		Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime,
	}
	ch.Tenant, ch.Service, ch.Name = m.to.target(m.newName)
	res, err := f.c.Report(ctx, ch)
	if m.noReplace && errors.Is(err, model.ErrConflict) {
		return nil, syscall.EEXIST
	}
	if err != nil {
		return nil, err
	}
	v, _ := f.c.Node(res[0].ID).(*varsync.Variable)
	return v, nil
}

// handOver makes v what the descriptors of a temporary stand for from now on. v was given the bytes in was: what has
// been written since follows; where that fails, the temporary stays, with all it has. v nil: it is gone again, and the
// temporary with it.
func (f *FS) handOver(ctx context.Context, l *local, was []byte, v *varsync.Variable) error {
	if v == nil {
		f.locals.remove(l)
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
	replaced, _ := m.dst.(*local)
	if replaced != nil {
		if isDir(m.src) {
			return syscall.ENOTDIR
		}
		if err := replaced.hold(); err != nil {
			return err
		}
		defer replaced.release()
	}
	ch := model.Change{Op: model.OpRename, NoReplace: m.noReplace, Expect: m.src.ID()}
	ch.Tenant, ch.Service, ch.Name = m.from.target(m.oldName)
	ch.ToTenant, ch.ToService, ch.ToName = m.to.target(m.newName)
	if m.from.level != m.to.level && (m.from.dir == nil || m.to.dir == nil) {
		return syscall.EXDEV // a directory cannot become a service, nor a service a tenant
	}
	if v, ok := m.src.(*varsync.Variable); ok {
		// What is on its way to the variable belongs to it before it moves.
		ctx, cancel := f.opContext()
		err := v.Flush(ctx)
		cancel()
		if err != nil {
			f.log.Debug("writes before a rename", "err", err)
		}
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if _, err := f.c.Report(ctx, ch); err != nil {
		return err
	}
	if replaced != nil {
		if err := f.discardHeld(replaced); err != nil {
			return err
		}
	}
	if v, ok := m.dst.(*varsync.Variable); ok && v.ID() != m.src.ID() {
		f.handles.become(m.src.ID(), v)
	}
	return nil
}
