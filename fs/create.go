package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Create makes and opens a file.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) (status fuse.Status) {
	t := f.begin("create", &in.InHeader)
	defer f.endOpen(t, &out.OpenOut, &status)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	if again, done := t.again.answer(); done {
		if !again.Ok() {
			return again
		}
		return f.createdBefore(t.again.value, in, name, out)
	}
	n, h, err := f.create(in, name, t.task)
	if err != nil {
		return f.errno("create", err)
	}
	h.node = n.ID()
	out.Fh = f.handles.add(h)
	f.entry(&in.InHeader, name, n, &out.EntryOut)
	return fuse.OK
}

func (f *FS) create(in *fuse.CreateIn, name string, task *estate.Task) (varsync.Node, *handle, error) {
	p, name, err := f.newFile(&in.InHeader, name)
	if err != nil {
		return nil, nil, err
	}
	excl, trunc := in.Flags&syscall.O_EXCL != 0, in.Flags&syscall.O_TRUNC != 0
	open := func(n varsync.Node, trunc bool) (varsync.Node, *handle, error) {
		h, err := f.open(n, n.ID(), in.Pid, in.Flags, trunc)
		return n, h, err
	}
	if l := f.unshared.byName(in.NodeId, name); l != nil {
		if excl {
			return nil, nil, syscall.EEXIST
		}
		if err := f.mayOpen(&in.InHeader, l, in.Flags); err != nil {
			return nil, nil, err
		}
		return open(l, trunc)
	}
	if v, version := f.reclaim(in.NodeId, name); v != nil && !v.Gone() {
		// The editor that renamed the variable to a backup writes it anew: one update of the variable that it was.
		n, h, err := open(v, true)
		if err == nil {
			h.sees(version)
		}
		return n, h, err
	}
	if f.o.Temporary.makes(name, in.Flags, in.Mode) && f.lookup(p, name) == nil {
		return open(f.unshared.add(0, in.NodeId, name, temporary, model.NewMode(in.Mode)), false)
	}
	if v, ok := f.lookup(p, name).(*varsync.Variable); ok && !excl { // it came while the kernel thought it was not there
		if err := f.mayOpen(&in.InHeader, v, in.Flags); err != nil {
			return nil, nil, err
		}
		return open(v, trunc)
	}
	return f.make(in, p, name, task)
}

// make creates a file that is not there. One that exclusively makes it, or does not write it, makes a variable at once:
// whether the name is free is for the server to say, so lock files work across hosts. Any other makes a draft.
func (f *FS) make(in *fuse.CreateIn, p place, name string, task *estate.Task) (n varsync.Node, h *handle, err error) {
	h = f.newHandle(0, in.Pid, in.Flags)
	r := &replacer{reader: reader{handle: h}, stage: emptied, asked: time.Now()}
	excl := in.Flags&syscall.O_EXCL != 0
	ctx, cancel := f.opContext()
	defer cancel()
	if excl || !h.writes {
		h.v, err = f.makeVariable(journaled(ctx, task), p, name, in.Mode)
		if errors.Is(err, model.ErrExists) && !excl {
			err = syscall.ESTALE // it has just come: the kernel looks again
		}
		n, r.stage = h.v, clean
	} else {
		h.l, err = f.makeDraft(ctx, in.NodeId, p, name, in.Mode)
		n = h.l
	}
	if err != nil {
		return nil, nil, err
	}
	h.writer.Store(in.Pid)
	h.state = h.fresh()
	if h.writes && (!h.appends || in.Flags&syscall.O_TRUNC != 0) {
		h.state = r
	}
	h.opened()
	return n, h, nil
}

// makeDraft makes a file that is a variable from its first commit on, with one handle on it.
func (f *FS) makeDraft(ctx context.Context, dir uint64, p place, name string, mode uint32) (*unshared, error) {
	probe := &model.Probe{Want: model.RightCreate | model.RightWrite, Reserve: true}
	answer := &model.Probed{} // without an id: see add
	queues, err := p.service.Keeps(0)
	if !queues {
		if answer, err = f.probeAt(ctx, probe, &p, name); err != nil {
			answer, err = &model.Probed{}, p.service.OrKeep(err, 0)
			queues = true
		}
	}
	if err == nil && queues {
		_, _, path := p.target(name)
		err = f.mayMake(p, path)
	}
	if err != nil {
		return nil, err
	}
	l := f.unshared.add(answer.ID, dir, name, draft, model.NewMode(mode))
	f.unshared.ref(l)
	return l, nil
}

// newFile is where a file is to be made, and as what component.
func (f *FS) newFile(h *fuse.InHeader, name string) (place, string, error) {
	if err := errors.Join(checkName(name), f.mayChangeIn(h, h.NodeId)); err != nil {
		return place{}, "", err
	}
	p, err := f.place(h.NodeId)
	if err == nil && p.dir == nil {
		err = syscall.EPERM // only directories here: tenants and services
	}
	if err == nil {
		err = f.checkNew(p, name)
	}
	if err != nil {
		return place{}, "", err
	}
	return p, p.decode(name), nil
}

// makeVariable creates an empty variable that did not exist.
func (f *FS) makeVariable(ctx context.Context, p place, name string, mode uint32) (*varsync.Variable, error) {
	res, err := f.reportAt(ctx, model.Change{Op: model.OpCreate, NewMode: model.NewMode(mode)}, &p, name)
	if err != nil {
		return nil, err
	}
	v, ok := f.made(res.ID).(*varsync.Variable)
	if !ok {
		return nil, syscall.ESTALE // made, and removed by somebody else at once
	}
	return v, nil
}

// Mknod makes a regular file; there is nothing else here.
func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) (status fuse.Status) {
	t := f.begin("mknod", &in.InHeader)
	defer f.end(t, &status)
	if f.kernel.IsPoke(&in.InHeader) {
		return f.kernel.PokeEntry(in.NodeId, name, out)
	}
	var n varsync.Node
	var err error
	if again, done := t.again.answer(); done {
		n, err = f.madeBefore(again, in.NodeId, name)
	} else {
		n, err = f.mknod(in, name, t.task)
	}
	if err != nil {
		return f.errno("mknod", err)
	}
	f.entry(&in.InHeader, name, n, out)
	return fuse.OK
}

func (f *FS) mknod(in *fuse.MknodIn, name string, task *estate.Task) (varsync.Node, error) {
	if t := in.Mode & syscall.S_IFMT; t != 0 && t != syscall.S_IFREG {
		return nil, syscall.EPERM
	}
	p, name, err := f.newFile(&in.InHeader, name)
	if err != nil {
		return nil, err
	}
	if f.unshared.byName(in.NodeId, name) != nil {
		return nil, syscall.EEXIST
	}
	if err := f.unparkName(in.NodeId, name); err != nil {
		return nil, err
	}
	ctx, cancel := f.opContext()
	defer cancel()
	return f.makeVariable(journaled(ctx, task), p, name, in.Mode)
}
