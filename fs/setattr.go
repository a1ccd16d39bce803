package fs

import (
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// described is a mode and a time that somebody sets.
type described struct {
	mode     model.Mode // 0: none
	hasMTime bool
	mtime    int64
}

func (f *FS) setattr(n varsync.Node, h *handle, in *fuse.SetAttrIn, task *estate.Task) error {
	if f.o.ReadOnly {
		return syscall.EROFS
	}
	if uid, ok := in.GetUID(); ok && uid != f.o.UID {
		return syscall.EPERM
	}
	if gid, ok := in.GetGID(); ok && gid != f.o.GID {
		return syscall.EPERM
	}
	var d described
	if mode, ok := in.GetMode(); ok {
		if f.foreign(&in.InHeader) {
			return syscall.EPERM
		}
		d.mode = model.NewMode(mode) // without set-id and sticky bits, which have no meaning here
	}
	if size, ok := in.GetSize(); ok {
		if h != nil {
			h.writer.Store(in.Pid)
		} else if err := f.may(&in.InHeader, n, mayWrite); err != nil {
			return err
		}
		if err := f.truncate(n, in.NodeId, h, int64(size), task); err != nil {
			return err
		}
	} else if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME) != 0 {
		if err := f.mayTouch(n, in); err != nil {
			return err
		}
		if t, ok := in.GetMTime(); ok {
			d.hasMTime, d.mtime = true, t.UnixNano()
		}
	}
	if d == (described{}) {
		return nil
	}
	return f.describe(n, in.NodeId, d)
}

// mayTouch checks who sets times: the owner any, others who may write the present one.
func (f *FS) mayTouch(n varsync.Node, in *fuse.SetAttrIn) error {
	set := func(given, now uint32) bool { return in.Valid&(given|now) == given }
	switch {
	case f.ceiling(n)&0o222 == 0:
		return syscall.EACCES
	case !f.foreign(&in.InHeader):
		return nil
	case set(fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW), set(fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW):
		return syscall.EPERM
	}
	return f.may(&in.InHeader, n, mayWrite)
}

// describe gives a node a mode and a time, behind the changes of its value that were made before. node is the kernel's
// number for it.
func (f *FS) describe(n varsync.Node, node uint64, d described) error {
	if d.hasMTime {
		f.stamp(node, d.mtime)
	}
	if l, ok := n.(*unshared); ok {
		v := l.describe(d)
		if v == nil && l.is(kept) {
			return f.commitDraft(l, &varsync.Edit{Kind: varsync.EditMeta, Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime}, nil)
		}
		if v == nil {
			f.unshared.noteDescribed(l)
			return nil
		}
		n = v
	}
	ctx, cancel := f.opContext()
	defer cancel()
	ch := model.Change{Op: model.OpSetMeta, Expect: n.ID(), Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime}
	switch n := n.(type) {
	case root:
		if d.mode != 0 {
			return syscall.EPERM
		}
		return nil // nobody keeps it
	case *varsync.Variable:
		_, err := n.Commit(ctx, varsync.Edit{Kind: varsync.EditMeta, Mode: d.mode, HasMTime: d.hasMTime, MTime: d.mtime})
		if errors.Is(err, model.ErrNotFound) && f.handles.uncommitted(node) {
			return nil // removed while it is open: nobody else sees it
		}
		return err
	case *varsync.Tenant:
		ch.Tenant = n.Name()
	case *varsync.Service:
		ch.Tenant, ch.Service = n.Tenant().Name(), n.Name()
	case *varsync.Dir:
		p, err := f.place(n.ID())
		if err != nil {
			return err
		}
		return f.atPlaces(ctx, func() error {
			ch.Tenant, ch.Service, ch.Name = p.tenant.Name(), p.service.Name(), p.dir.Name()
			_, err := f.c.Report(ctx, ch)
			return err
		}, &p)
	}
	_, err := f.c.Report(ctx, ch)
	return err
}

// stamp has the descriptors that gather a value give it this time when they commit it: cp -p and tar set the time before
// they close.
func (f *FS) stamp(node uint64, mtime int64) {
	f.eachGathering(node, func(r *replacer) { r.stamp = time.Unix(0, mtime) })
}

// describe gives a file of this mount a mode and a time, which go to the server with its value. It returns the variable
// that the file has become, if it has: that is what to describe.
func (l *unshared) describe(d described) *varsync.Variable {
	l.naming.Lock() // not while a commit is on its way that does not have it
	defer l.naming.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.v != nil {
		return l.v
	}
	if d.mode != 0 {
		l.mode = d.mode
	}
	if d.hasMTime {
		l.mtime, l.stamped = time.Unix(0, d.mtime), true
	}
	return nil
}

// perm is the file's mode.
func (l *unshared) perm() model.Mode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode
}

// described is what the variable is to have that the file becomes.
func (l *unshared) described() described {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := described{mode: l.mode, hasMTime: l.stamped}
	if l.stamped {
		d.mtime = l.mtime.UnixNano()
	}
	return d
}
