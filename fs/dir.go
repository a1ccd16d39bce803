package fs

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Mkdir makes a tenant, a service or a directory; the server decides, so lock directories work across hosts.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) (status fuse.Status) {
	t := f.begin("mkdir", &in.InHeader)
	defer f.end(t, &status)
	if f.kernel.IsPoke(&in.InHeader) {
		return f.kernel.PokeEntry(in.NodeId, name, out)
	}
	var n varsync.Node
	var err error
	if again, done := t.again.answer(); done {
		n, err = f.madeBefore(again, in.NodeId, name)
	} else {
		n, err = f.mkdir(in, name, t.task)
	}
	if err != nil {
		return f.errno("mkdir", err)
	}
	if release, err := f.watch(t, nil, n); err == nil { // it is made, whether or not anybody waits
		defer release()
	}
	f.entry(&in.InHeader, name, n, out)
	return fuse.OK
}

func (f *FS) mkdir(in *fuse.MkdirIn, name string, task *estate.Task) (varsync.Node, error) {
	res, err := f.structural(&in.InHeader, name, model.Change{Op: model.OpMkdir, NewMode: model.NewMode(in.Mode)}, task)
	if err != nil {
		return nil, err
	}
	n := f.made(res.ID)
	if n == nil {
		return nil, syscall.ESTALE // made, and removed by somebody else at once
	}
	return n, nil
}

// made returns what has just been made, nil if it is gone. It can be on its way to another service: then that is waited for, and a
// server on this host is asked.
func (f *FS) made(id uint64) varsync.Node {
	f.c.Await(id, f.opBound())
	n := f.c.Node(id)
	if n != nil {
		return n
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if !f.c.Barrier(ctx) {
		return nil
	}
	return f.c.Node(id)
}

// Rmdir removes an empty tenant, service or directory.
func (f *FS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) (status fuse.Status) {
	t := f.begin("rmdir", h)
	defer f.end(t, &status)
	if f.kernel.IsPoke(h) {
		return f.kernel.PokeGone(h.NodeId, name)
	}
	if again, done := t.again.answer(); done {
		return again
	}
	n, err := f.find(h.NodeId, name)
	if err != nil {
		return f.errno("rmdir", err)
	}
	if n != nil && len(f.unshared.in(n.ID())) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	if f.stale(h.NodeId, name, n) {
		return fuse.Status(syscall.ESTALE)
	}
	if _, err = f.structural(h, name, model.Change{Op: model.OpRmdir}, t.task); err == nil {
		f.kernel.Removed(h.NodeId, name)
	}
	return f.errno("rmdir", err)
}

// Unlink removes a variable or a file of this mount.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) (status fuse.Status) {
	t := f.begin("unlink", h)
	defer f.end(t, &status)
	if f.kernel.IsPoke(h) {
		return f.kernel.PokeGone(h.NodeId, name)
	}
	if again, done := t.again.answer(); done {
		return again
	}
	err := f.unlink(h, name, t.task)
	if err == nil {
		f.kernel.Removed(h.NodeId, name)
	}
	return f.errno("unlink", err)
}

func (f *FS) unlink(h *fuse.InHeader, name string, task *estate.Task) error {
	if err := f.mayChangeIn(h, h.NodeId); err != nil {
		return err
	}
	n, err := f.find(h.NodeId, name)
	if err != nil {
		return err
	}
	if f.stale(h.NodeId, name, n) {
		return syscall.ESTALE
	}
	switch n := n.(type) {
	case nil:
		p, err := f.place(h.NodeId)
		return errors.Join(err, f.nothing(p, name))
	case *unshared:
		if err := f.replayed(n); err != nil {
			return err
		}
		return f.discard(n)
	case *varsync.Variable:
		if err := f.replayed(n); err != nil {
			return err
		}
		if f.kernel.Settled(n.ID()) {
			return syscall.ESTALE // the kernel asks again, and hears of one link
		}
		removed := f.unlinking(n)
		_, err := f.structural(h, name, model.Change{Op: model.OpDelete}, task)
		if err == nil {
			removed()
		}
		return err
	}
	return syscall.EISDIR
}

// structural reports one change of what a name in a directory stands for.
func (f *FS) structural(h *fuse.InHeader, name string, ch model.Change, task *estate.Task) (model.Result, error) {
	if err := errors.Join(checkName(name), f.mayChangeIn(h, h.NodeId)); err != nil {
		return model.Result{}, err
	}
	p, err := f.place(h.NodeId)
	if err != nil {
		return model.Result{}, err
	}
	if ch.Op == model.OpMkdir {
		if err := f.checkNew(p, name); err != nil {
			return model.Result{}, err
		}
	} else if n, err := f.find(h.NodeId, name); err != nil {
		return model.Result{}, err
	} else if n != nil {
		ch.Expect = n.ID() // not what somebody else has given the name to meanwhile
	} else if names.Reserved(name, p.level) {
		return model.Result{}, syscall.EPERM
	}
	name = p.decode(name)
	if ch.Op == model.OpMkdir {
		if f.unshared.byName(h.NodeId, name) != nil {
			return model.Result{}, syscall.EEXIST
		}
		if err := f.unparkName(h.NodeId, name); err != nil {
			return model.Result{}, err
		}
	}
	ctx, cancel := f.opContext()
	defer cancel()
	return f.reportAt(journaled(ctx, task), ch, &p, name)
}

// OpenDir opens a directory.
func (f *FS) OpenDir(interrupt <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) (status fuse.Status) {
	t := f.begin("opendir", &in.InHeader)
	defer f.end(t, &status)
	if err := f.may(&in.InHeader, f.node(in.NodeId), mayRead); err != nil {
		return f.errno("opendir", err)
	}
	if isControl(in.NodeId) {
		out.Fh = f.handles.addDir(in.NodeId, &dirHandle{})
		return fuse.OK
	}
	if err := f.load(t, interrupt, f.node(in.NodeId)); err != nil {
		return f.errno("opendir", err)
	}
	if _, err := f.place(in.NodeId); err != nil {
		return f.errno("opendir", err)
	}
	out.Fh = f.handles.addDir(in.NodeId, &dirHandle{})
	return fuse.OK
}

// ReleaseDir closes a directory.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) { f.handles.removeDir(in.Fh) }

// FsyncDir has nothing to do: what was acknowledged is stored.
func (f *FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }
