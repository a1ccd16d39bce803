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
	if l, ok := src.(*local); ok {
		if p := f.locals.parkedAs(l); p != nil {
			return f.renameBackup(p, in, newName, to.decode(newName))
		}
	}
	if v := f.reclaim(in.Newdir, to.decode(newName)); v != nil && !v.Gone() {
		dst = v
	}
	m := move{oldDir: in.NodeId, from: from, to: to, src: src, dst: dst, oldName: from.decode(oldName), newName: to.decode(newName),
		newFile: newName, newDir: in.Newdir, noReplace: in.Flags&unix.RENAME_NOREPLACE != 0}
	if _, over := dst.(*varsync.Variable); over && dst.ID() != src.ID() {
		f.notes.keepWatches(dst, m.to, m.newName)
	}
	switch n := src.(type) {
	case *local:
		return f.renameLocal(n, m)
	case *varsync.Variable:
		if isTemporary(m.newName) && !isTemporary(m.oldName) && !m.noReplace && (dst == nil || isLocal(dst)) {
			return f.park(n, m)
		}
	}
	return f.renameShared(m)
}

func isLocal(n varsync.Node) bool {
	_, ok := n.(*local)
	return ok
}

// renameBackup moves the backup of a parked variable: back to where it was nothing has happened, anywhere else the
// variable moves there.
func (f *FS) renameBackup(p *parked, in *fuse.RenameIn, newName, component string) error {
	if p.key == (localKey{in.Newdir, component}) {
		if f.reclaim(p.key.parent, p.key.name) != nil {
			f.locals.remove(p.l)
			f.notes.refreshName(in.Newdir, newName)
		}
		return nil
	}
	if d, err := f.find(in.Newdir, newName); err != nil {
		return err
	} else if d, ok := d.(*local); ok {
		f.locals.remove(d)
	}
	f.locals.move(p.l, in.Newdir, component)
	f.unpark(p)
	return nil
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
