package fs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// Rename moves what a name stands for. Over a variable it is one update of that variable's value (S13): the variable
// keeps its number, so the kernel, which now has the source's node under the target's name, is told to look again.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) (status fuse.Status) {
	defer f.recovered("rename", &status)
	if f.isPoke(&in.InHeader) {
		return f.notes.pokeMoved(in.NodeId, oldName, in.Newdir, newName)
	}
	return f.errno("rename", f.rename(in, oldName, newName))
}

func (f *FS) rename(in *fuse.RenameIn, oldName, newName string) error {
	if err := errors.Join(checkName(newName), f.mayChange(&in.InHeader)); err != nil {
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
	if dst != nil && in.Flags&unix.RENAME_NOREPLACE != 0 {
		return syscall.EEXIST
	}
	m := move{from: from, to: to, src: src, dst: dst, oldName: from.decode(oldName), newName: to.decode(newName),
		newFile: newName, newDir: in.Newdir, noReplace: in.Flags&unix.RENAME_NOREPLACE != 0}
	if _, over := dst.(*varsync.Variable); over && dst.ID() != src.ID() {
		f.notes.keepWatches(dst, m.to, m.newName)
	}
	if l, ok := src.(*local); ok {
		return f.renameLocal(l, m)
	}
	return f.renameShared(m)
}

// move is a rename under way.
type move struct {
	from, to         place
	src, dst         varsync.Node
	oldName, newName string // components
	newFile          string
	newDir           uint64
	noReplace        bool
}

// renameLocal moves a file of this mount: to another temporary name it stays one, to a real name its content becomes the
// variable's value.
func (f *FS) renameLocal(l *local, m move) error {
	if m.to.dir == nil {
		return syscall.EPERM
	}
	_, overVariable := m.dst.(*varsync.Variable)
	if m.dst != nil && isDir(m.dst) {
		return syscall.EISDIR
	}
	if !l.temp || isTemporary(m.newName) && !overVariable {
		// A draft that moves before its first commit is simply made under the other name.
		if !l.temp && overVariable {
			return syscall.EBUSY
		}
		f.locals.move(l, m.newDir, m.newName)
		return nil
	}
	l.mu.Lock()
	data := l.data
	l.data = nil // the variable's from now on
	l.mu.Unlock()
	if data == nil {
		data = []byte{}
	}
	ctx, cancel := f.opContext()
	defer cancel()
	ch := transport.Change{Op: transport.OpStore, Data: data, Create: true}
	ch.Tenant, ch.Service, ch.Name = m.to.target(m.newName)
	if m.noReplace {
		ch.HasVersion = true // it must not exist
	}
	var err error
	if v, ok := m.dst.(*varsync.Variable); ok {
		_, err = v.Commit(ctx, varsync.Edit{Kind: varsync.EditReplace, Data: data})
	} else {
		_, err = f.c.Report(ctx, ch)
	}
	if err != nil {
		l.mu.Lock()
		l.data = data
		l.mu.Unlock()
		if m.noReplace && errors.Is(err, transport.ErrConflict) {
			return syscall.EEXIST
		}
		return err
	}
	if d, ok := m.dst.(*local); ok {
		f.locals.remove(d)
	}
	f.locals.remove(l)
	f.notes.refreshName(m.newDir, m.newFile)
	return nil
}

// renameShared asks the server to move a variable, a directory, a service or a tenant.
func (f *FS) renameShared(m move) error {
	if d, ok := m.dst.(*local); ok {
		if isDir(m.src) {
			return syscall.ENOTDIR
		}
		f.locals.remove(d)
	}
	ch := transport.Change{Op: transport.OpRename, NoReplace: m.noReplace}
	ch.Tenant, ch.Service, ch.Name = m.from.target(m.oldName)
	ch.ToTenant, ch.ToService, ch.ToName = m.to.target(m.newName)
	if m.from.level != m.to.level && (m.from.dir == nil || m.to.dir == nil) {
		return syscall.EXDEV // a directory cannot become a service, nor a service a tenant
	}
	if v, ok := m.src.(*varsync.Variable); ok {
		// What is on its way to the variable belongs to it before it moves.
		ctx, cancel := f.opContext()
		err := v.Flushed(ctx)
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
	if m.dst != nil && m.dst.ID() != m.src.ID() {
		f.notes.refreshName(m.newDir, m.newFile)
	}
	return nil
}
