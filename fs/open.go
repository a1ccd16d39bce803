package fs

import (
	"errors"
	"syscall"

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
func (f *FS) Open(interrupt <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) (status fuse.Status) {
	t := f.begin("open", &in.InHeader)
	defer f.endOpen(t, out, &status)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	if f.openedBefore(t.again, in, out) {
		return fuse.OK
	}
	if f.pages.Has(in.NodeId) {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	if f.kernel.IsPoke(&in.InHeader) {
		out.Fh, out.OpenFlags = pokeHandle, out.OpenFlags|fuse.FOPEN_NOFLUSH
		return fuse.OK
	}
	if isMemory(in.NodeId) {
		return f.errno("open", f.openMemory(in, out))
	}
	if isControl(in.NodeId) {
		return f.errno("open", f.openControl(interrupt, in, out))
	}
	n := f.node(in.NodeId)
	if l, ok := n.(*unshared); ok && l.is(draft) && (reads(in.Flags) || in.Flags&syscall.O_APPEND != 0) {
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
	var ahead *question
	if v, ok := n.(*varsync.Variable); ok && writes(in.Flags) && in.Flags&syscall.O_APPEND == 0 {
		ahead = f.ahead(v)
	}
	h, err := f.open(n, in.NodeId, in.Pid, in.Flags, in.Flags&syscall.O_TRUNC != 0)
	for errors.Is(err, syscall.ESTALE) {
		f.c.Await(in.NodeId, f.opBound())
		now := f.node(in.NodeId)
		if now == n || now == nil {
			break
		}
		n = now // it has gone to another service since
		h, err = f.open(n, in.NodeId, in.Pid, in.Flags, in.Flags&syscall.O_TRUNC != 0)
	}
	if err != nil {
		return f.errno("open", err)
	}
	h.ahead = ahead
	if !h.writes && !f.locks.isRanged(in.NodeId) {
		out.OpenFlags |= fuse.FOPEN_NOFLUSH
	}
	if h.paged = f.paged(h, in); h.paged {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE | out.OpenFlags&fuse.FOPEN_NOFLUSH
	}
	out.Fh = f.handles.add(h)
	f.openings.opened(in.Pid, h)
	if v, ok := n.(*varsync.Variable); ok && h.reads && !f.pages.Has(in.NodeId) {
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
	return f.kernel.Lost(h.Pid, ids...)
}

// open makes a descriptor on a node by whose number the kernel knows it; trunc is O_TRUNC.
func (f *FS) open(n varsync.Node, node uint64, thread, flags uint32, trunc bool) (*handle, error) {
	h := f.newHandle(node, thread, flags)
	switch n := n.(type) {
	case *varsync.Variable:
		if (h.writes || trunc) && n.Service().Tenant().Rights()&model.RightWrite == 0 {
			return nil, syscall.EACCES
		}
		h.v, h.state = n, h.fresh()
	case *unshared:
		h.l, h.state = n, h.fresh()
		if !n.is(draft) && !n.is(kept) {
			h.state = &private{h, n}
		}
	case nil: // by /proc/self/fd
		o := f.handles.orphan(node)
		if o == nil {
			return nil, syscall.ESTALE // makes the kernel look the name up again
		}
		h.state = &private{h, o}
	default:
		return nil, syscall.EISDIR
	}
	h.opened()
	if trunc {
		if err := h.empty(thread); err != nil {
			return nil, err
		}
	} else if r := h.state.view(); r != nil && h.v != nil && h.reads {
		// Should it be removed before the first read, this is the value it had.
		if err := r.refresh(); errors.Is(err, model.ErrNotFound) {
			return nil, syscall.ESTALE
		}
		h.opened()
	}
	if h.l != nil && !f.unshared.ref(h.l) {
		return nil, syscall.ESTALE // its last writer has just given it up
	}
	return h, nil
}

// empty carries out the O_TRUNC of an open by a thread.
func (h *handle) empty(thread uint32) error {
	return h.do(func(s state) error {
		if r := s.view(); r != nil {
			return r.replace(thread)
		}
		return s.truncate(0)
	})
}
