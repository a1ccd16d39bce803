package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// decode turns a file name into a component.
func (p place) decode(file string) string { return names.Decode(file, p.level) }

func reads(flags uint32) bool { return flags&syscall.O_ACCMODE != syscall.O_WRONLY }

func writes(flags uint32) bool { return flags&syscall.O_ACCMODE != syscall.O_RDONLY }

// Open opens a file. With DIRECT_IO, and O_TRUNC as a request of its own, no reader sees a torn or empty value; readers need
// no FLUSH at close.
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) (status fuse.Status) {
	defer f.endOpen(f.begin("open", &in.InHeader), out, &status)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	if f.isPoke(&in.InHeader) {
		out.Fh = pokeHandle
		return fuse.OK
	}
	n := f.node(in.NodeId)
	if l, ok := n.(*local); ok && !l.temp && (reads(in.Flags) || in.Flags&syscall.O_APPEND != 0) {
		// A process that has not written yet what it has made itself does not wait for itself.
		by := &asker{tid: in.Pid, process: f.callers.process}
		if !f.handles.writtenBy(in.NodeId, by) {
			l.awaitDraft(f.draftWait)
			n = f.node(in.NodeId)
		}
	}
	if v, ok := n.(*varsync.Variable); ok && f.misnamed(&in.InHeader, v) {
		return fuse.Status(syscall.ESTALE)
	}
	if err := f.mayOpen(&in.InHeader, n, in.Flags); err != nil {
		return f.errno("open", err)
	}
	h, err := f.open(n, in)
	if err != nil {
		return f.errno("open", err)
	}
	if !h.writable {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
	h.opener, h.exec = in.Pid, in.Flags&fmodeExec != 0
	out.Fh = f.handles.add(h)
	f.openings.opened(in.Pid, h)
	if v, ok := n.(*varsync.Variable); ok && h.reads {
		f.showSize(v)
	}
	return fuse.OK
}

// misnamed reports whether a variable may have lost the name under which a thread opens it: by a change that is still to be
// announced to the kernel, or that was acknowledged to somebody on this host and is on its way to us. The kernel, told
// ESTALE, looks the name up again.
func (f *FS) misnamed(h *fuse.InHeader, v *varsync.Variable) bool {
	if v.Service().Names() == varsync.NamesBehind && !v.StillNamed() {
		f.c.Barrier(f.ctx)
	}
	ids := []uint64{v.ID()}
	for d := v.Parent(); d != nil; d = d.Parent() {
		ids = append(ids, d.ID())
	}
	return f.notes.lost(h.Pid, ids...)
}

func (f *FS) open(n varsync.Node, in *fuse.OpenIn) (*handle, error) {
	h := &handle{node: in.NodeId, reads: reads(in.Flags), writable: writes(in.Flags), appending: in.Flags&syscall.O_APPEND != 0}
	switch n := n.(type) {
	case *varsync.Variable:
		h.v = n
	case *local:
		h.l = n
	case nil:
		if o := f.handles.orphan(in.NodeId); o != nil { // by /proc/self/fd
			if in.Flags&syscall.O_TRUNC != 0 {
				o.carryOut(varsync.Edit{Kind: varsync.EditTruncate})
			}
			h.gone = o
			return h, nil
		}
		return nil, syscall.ESTALE // makes the kernel look the name up again
	default:
		return nil, syscall.EISDIR
	}
	trunc := in.Flags&syscall.O_TRUNC != 0
	if (h.writable || trunc) && h.v != nil && h.v.Service().Tenant().Rights()&model.RightWrite == 0 {
		return nil, syscall.EACCES
	}
	if h.l != nil && h.l.temp {
		if trunc {
			h.l.resize(0)
		}
		return h, nil
	}
	if trunc {
		h.writable, h.replacing = true, true // open(O_RDONLY|O_TRUNC) truncates on Linux
		h.writer.Store(in.Pid)
		if h.v != nil {
			h.base = h.v.Current().Version
		}
		if f.o.Sync != SyncNever {
			if err := f.ask(h); err != nil {
				return nil, orStale(err)
			}
		}
	} else if h.v != nil && h.reads {
		// Should it be removed before the first read, this is the value it had.
		if err := f.refresh(h); errors.Is(err, model.ErrNotFound) {
			return nil, syscall.ESTALE
		}
	}
	if h.l != nil && !f.locals.ref(h.l) {
		return nil, syscall.ESTALE // its last writer has just given it up
	}
	return h, nil
}

// orStale is ESTALE for what has been removed elsewhere: the kernel looks again, and makes it anew if that is asked for.
func orStale(err error) error {
	if errors.Is(err, model.ErrNotFound) {
		return syscall.ESTALE
	}
	return err
}

// Create makes and opens a file.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) (status fuse.Status) {
	defer f.endOpen(f.begin("create", &in.InHeader), &out.OpenOut, &status)
	n, h, err := f.create(in, name)
	if err != nil {
		return f.errno("create", err)
	}
	h.node = n.ID()
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	out.Fh = f.handles.add(h)
	f.newEntry(&in.InHeader, name, n, &out.EntryOut)
	return fuse.OK
}

func (f *FS) create(in *fuse.CreateIn, name string) (varsync.Node, *handle, error) {
	if err := errors.Join(checkName(name), f.mayChangeIn(&in.InHeader, in.NodeId)); err != nil {
		return nil, nil, err
	}
	p, err := f.place(in.NodeId)
	if err != nil {
		return nil, nil, err
	}
	if p.dir == nil {
		return nil, nil, syscall.EPERM // only directories here: tenants and services
	}
	if err := f.checkNew(p, name); err != nil {
		return nil, nil, err
	}
	name = p.decode(name)
	open := &fuse.OpenIn{InHeader: in.InHeader, Flags: in.Flags | syscall.O_TRUNC}
	if in.Flags&syscall.O_APPEND != 0 && in.Flags&syscall.O_TRUNC == 0 {
		open.Flags &^= syscall.O_TRUNC
	}
	if !writes(in.Flags) {
		open.Flags = in.Flags &^ syscall.O_TRUNC
	}
	if l := f.locals.byName(in.NodeId, name); l != nil {
		if in.Flags&syscall.O_EXCL != 0 {
			return nil, nil, syscall.EEXIST
		}
		if err := f.mayOpen(&in.InHeader, l, in.Flags); err != nil {
			return nil, nil, err
		}
		h, err := f.open(l, open)
		return l, h, err
	}
	if v := f.reclaim(in.NodeId, name); v != nil && !v.Gone() {
		// The editor that renamed the variable to a backup writes it anew: one update of the variable that it was.
		open.Flags |= syscall.O_TRUNC
		h, err := f.open(v, open)
		return v, h, err
	}
	if f.o.Temporary.makes(name, in.Flags, in.Mode) && f.lookup(p, name) == nil {
		l := f.locals.add(0, in.NodeId, name, true, model.NewMode(in.Mode))
		h, err := f.open(l, open)
		return l, h, err
	}
	if in.Flags&syscall.O_EXCL == 0 {
		if v, ok := f.lookup(p, name).(*varsync.Variable); ok { // it came while the kernel thought it was not there
			if err := f.mayOpen(&in.InHeader, v, in.Flags); err != nil {
				return nil, nil, err
			}
			open.Flags = in.Flags
			h, err := f.open(v, open)
			return v, h, err
		}
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if in.Flags&syscall.O_EXCL != 0 || !writes(in.Flags) {
		// Whether the name is free is for the server to say: lock files work across hosts.
		v, err := f.makeVariable(ctx, p, name, in.Mode)
		if errors.Is(err, model.ErrExists) && in.Flags&syscall.O_EXCL == 0 {
			err = syscall.ESTALE // it has just come: the kernel looks again
		}
		if err != nil {
			return nil, nil, err
		}
		h := &handle{v: v, reads: reads(in.Flags), writable: writes(in.Flags), appending: in.Flags&syscall.O_APPEND != 0,
			created: true, published: true, asked: time.Now()}
		h.replacing = !h.appending && h.writable
		h.writer.Store(in.Pid)
		return v, h, nil
	}
	probe := &model.Probe{Want: model.RightCreate | model.RightWrite, Reserve: true}
	probe.Tenant, probe.Service, probe.Name = p.target(name)
	answer, err := f.c.Probe(ctx, probe)
	if err != nil {
		return nil, nil, err
	}
	l := f.locals.add(answer.ID, in.NodeId, name, false, model.NewMode(in.Mode))
	h := &handle{l: l, reads: reads(in.Flags), writable: true, created: true, appending: in.Flags&syscall.O_APPEND != 0, asked: time.Now()}
	h.replacing = open.Flags&syscall.O_TRUNC != 0
	h.writer.Store(in.Pid)
	f.locals.ref(l)
	return l, h, nil
}

// makeVariable creates an empty variable that did not exist.
func (f *FS) makeVariable(ctx context.Context, p place, name string, mode uint32) (*varsync.Variable, error) {
	ch := model.Change{Op: model.OpCreate, NewMode: model.NewMode(mode)}
	ch.Tenant, ch.Service, ch.Name = p.target(name)
	res, err := f.c.Report(ctx, ch)
	if err != nil {
		return nil, err
	}
	v, ok := f.c.Node(res[0].ID).(*varsync.Variable)
	if !ok {
		return nil, syscall.ESTALE // made, and removed by somebody else at once
	}
	return v, nil
}

// Mknod makes a regular file; there is nothing else here.
func (f *FS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) (status fuse.Status) {
	defer f.end(f.begin("mknod", &in.InHeader), &status)
	if f.isPoke(&in.InHeader) {
		return f.notes.pokeEntry(in.NodeId, name, out)
	}
	n, err := f.mknod(in, name)
	if err != nil {
		return f.errno("mknod", err)
	}
	f.newEntry(&in.InHeader, name, n, out)
	return fuse.OK
}

func (f *FS) mknod(in *fuse.MknodIn, name string) (varsync.Node, error) {
	if err := errors.Join(checkName(name), f.mayChangeIn(&in.InHeader, in.NodeId)); err != nil {
		return nil, err
	}
	if t := in.Mode & syscall.S_IFMT; t != 0 && t != syscall.S_IFREG {
		return nil, syscall.EPERM
	}
	p, err := f.place(in.NodeId)
	if err != nil {
		return nil, err
	}
	if p.dir == nil {
		return nil, syscall.EPERM
	}
	if err := f.checkNew(p, name); err != nil {
		return nil, err
	}
	name = p.decode(name)
	if f.locals.byName(in.NodeId, name) != nil {
		return nil, syscall.EEXIST
	}
	if err := f.unparkName(in.NodeId, name); err != nil {
		return nil, err
	}
	ctx, cancel := f.opContext()
	defer cancel()
	return f.makeVariable(ctx, p, name, in.Mode)
}
