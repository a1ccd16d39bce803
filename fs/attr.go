package fs

import (
	"errors"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// Lookup finds a name in a directory, in memory unless the service is looked at for the first time.
func (f *FS) Lookup(interrupt <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) (status fuse.Status) {
	t := f.begin("lookup", h)
	defer f.end(t, &status)
	if err := checkName(name); err != nil {
		return f.errno("lookup", err)
	}
	if f.kernel.IsPoke(h) {
		if status, done := f.kernel.PokeLookup(h.NodeId, name, out); done {
			return status
		}
	}
	if !f.kernel.IsOwn(h) {
		if err := f.may(h, f.node(h.NodeId), mayExec); err != nil {
			return f.errno("lookup", err)
		}
	}
	if isControl(h.NodeId) || h.NodeId == rootID && name == controlName {
		return f.lookupControl(h, name, out)
	}
	dir := f.node(h.NodeId)
	if s, ok := dir.(*varsync.Service); ok && f.hurried(h, s) {
		if done, err := f.hurry(interrupt, h, s, name, out); done || err != nil {
			return f.errno("lookup", err)
		}
	}
	if err := f.load(t, interrupt, dir); err != nil {
		return f.errno("lookup", err)
	}
	if s, ok := dir.(*varsync.Service); ok && isMemoryName(name) {
		return f.lookupMemory(h, s, out)
	}
	doubt, find := f.doubt(h.NodeId), f.find
	if f.kernel.IsOwn(h) {
		find = f.findNow
	}
	n, err := find(h.NodeId, name)
	if err == nil && !f.kernel.IsPoke(h) && doubt.about(n) {
		ctx, cancel := f.askContext(interrupt)
		defer cancel()
		if f.c.Barrier(ctx) {
			n, err = find(h.NodeId, name)
		} else {
			err = ctx.Err()
		}
	}
	if err != nil {
		return f.errno("lookup", err)
	}
	if n == nil {
		f.kernel.Misses(h.Pid)
		return fuse.ENOENT
	}
	if s, ok := n.(*varsync.Service); ok && f.hurried(h, s) {
		f.hurryTo(h, s, out)
		return fuse.OK
	}
	release, err := f.watch(t, interrupt, n)
	if err != nil {
		return f.errno("lookup", err)
	}
	defer release()
	f.entry(h, name, n, out)
	return fuse.OK
}

// doubt is which names of a directory may have been changed already for others on this host, but not yet for us: then the
// server is asked. What memory can tell is never asked for.
type doubt varsync.Names

// doubt has to be asked for before the name is looked at: the copy goes on.
func (f *FS) doubt(dir uint64) doubt {
	switch d := f.node(dir).(type) {
	case *varsync.Service:
		return doubt(d.Names())
	case *varsync.Dir:
		return doubt(d.Service().Names())
	}
	return doubt(varsync.NamesFollow)
}

// about reports whether a name may not stand for n any more, nil for nothing.
func (d doubt) about(n varsync.Node) bool {
	switch varsync.Names(d) {
	case varsync.NamesCurrent:
		return false
	case varsync.NamesBehind:
		v, ok := n.(*varsync.Variable)
		return !ok || !v.StillNamed()
	}
	return n == nil
}

// find resolves a file name in a directory; nil if there is nothing. While the directory is on its way to another service it waits.
func (f *FS) find(parent uint64, name string) (n varsync.Node, err error) {
	for range findTries {
		if n, err = f.findNow(parent, name); !errors.Is(err, syscall.ESTALE) {
			break
		}
		if f.c.Await(parent, f.opBound()); f.node(parent) == nil {
			break
		}
	}
	return n, err
}

// findTries is more often than a directory goes to another service while a name is looked for in it.
const findTries = 10

// findNow is find without waiting.
func (f *FS) findNow(parent uint64, name string) (varsync.Node, error) {
	p, err := f.placeNow(parent)
	if err != nil {
		return nil, err
	}
	n := f.findAt(p, parent, name)
	if n == nil && p.dir != nil && p.dir.Gone() {
		return nil, syscall.ESTALE // since it was looked at
	}
	return n, nil
}

func (f *FS) findAt(p place, parent uint64, name string) varsync.Node {
	if names.Reserved(name, p.level) {
		return nil
	}
	name = p.decode(name)
	l := f.unshared.byName(parent, name)
	if l != nil && l.private() {
		return l
	}
	if f.unshared.isHidden(parent, name) {
		return nil
	}
	if n := f.lookup(p, name); n != nil {
		return n // also where a draft of ours has the name: somebody else was first
	}
	if l != nil {
		return l
	}
	return nil
}

// GetAttr answers stat from memory.
func (f *FS) GetAttr(interrupt <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) (status fuse.Status) {
	t := f.begin("getattr", &in.InHeader)
	defer f.end(t, &status)
	if f.kernel.IsOwn(&in.InHeader) {
		return f.kernel.PokeAttr(in.NodeId, out)
	}
	if isMemory(in.NodeId) {
		return f.getMemoryAttr(in, out)
	}
	if isControl(in.NodeId) {
		return f.getControlAttr(in, out)
	}
	if !f.pages.Settle(in.NodeId) {
		return fuse.EIO
	}
	if err := f.awaitEarly(t, interrupt, in.NodeId); err != nil {
		return f.errno("getattr", err)
	}
	n := f.node(in.NodeId)
	var h *handle
	if in.Flags()&fuse.FUSE_GETATTR_FH != 0 {
		h = f.handles.get(in.Fh())
	}
	gone := n == nil
	if gone {
		n = f.removed(in.NodeId)
	}
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	by := &asker{tid: in.Pid, process: f.callers.process}
	f.ownEdits(n, by, h)
	f.openAttr(n, in.NodeId, &out.Attr)
	_, isUnshared := n.(*unshared)
	shown := f.setShown(in.NodeId, &out.Attr)
	writers := f.handles.uncommitted(in.NodeId)
	if writers && h == nil {
		h = f.handles.gathering(in.NodeId, by)
	}
	if (!writers || shown) && !isUnshared && n.ID() == in.NodeId { // nobody invalidates a number that stands for another node
		out.AttrValid = f.attrValidity()
	}
	committed := out.Size
	if h != nil {
		if n := h.gathered.Load(); n > 0 {
			setSize(&out.Attr, n-1)
		}
	}
	if gone && !f.kernel.Leaving(in.NodeId) {
		out.Nlink = 0
	}
	if out.Size != committed {
		out.AttrValid = 0
	}
	if out.Size != committed && in.Flags()&fuse.FUSE_GETATTR_FH == 0 {
		// The caller is shown what it is gathering, but the kernel must not take that for the size of what others read: it
		// does not, if it has been told since it asked that its attributes are old. (With a descriptor it is lseek that asks,
		// and goes by what the kernel has taken.)
		f.kernel.ForgetAttr(in.NodeId)
	} else {
		if shown && out.Size != committed {
			f.pages.Takes(in.Pid, in.NodeId, int64(out.Size))
		}
		f.kernel.Sized(in.NodeId, out.Size, false)
	}
	return fuse.OK
}

// ownEdits waits for what the caller itself has written, whose size it is to see. Nobody else waits.
func (f *FS) ownEdits(n varsync.Node, by *asker, h *handle) {
	v, ok := n.(*varsync.Variable)
	if !ok || !v.Dirty() || h == nil && !slices.ContainsFunc(f.handles.of(v.ID()), by.wrote) {
		return
	}
	ctx, cancel := f.opContext()
	defer cancel()
	if err := v.Flush(ctx); err != nil {
		f.log.Debug("writes before a stat", "err", err) // their writer is told
	}
}

// removed finds a node that is gone, but still open.
func (f *FS) removed(node uint64) (n varsync.Node) {
	for _, h := range f.handles.of(node) {
		if n == nil {
			h.mu.Lock()
			n = h.file()
			h.mu.Unlock()
		}
		if f.handles.orphan(node) == nil && h.mu.TryLock() { // nobody has looked since
			h.now()
			h.unlock()
		}
	}
	return n
}

// openAttr is attr of a node that the kernel knows by a number, and that may have been removed while it is open.
func (f *FS) openAttr(n varsync.Node, node uint64, out *fuse.Attr) {
	f.attr(n, out)
	out.Ino = node
	if o := f.handles.orphan(node); o != nil {
		size, _ := o.stat()
		setSize(out, size)
	}
}

func setSize(out *fuse.Attr, size int64) {
	out.Size = uint64(size)
	out.Blocks = (out.Size + 511) / 512
}

// SetAttr truncates, and sets modes and times (S24).
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) (status fuse.Status) {
	t := f.begin("setattr", &in.InHeader)
	defer f.end(t, &status)
	f.pages.GoesOn(in.NodeId, in.Pid)
	if f.kernel.IsPoke(&in.InHeader) {
		f.pages.Answered(in.NodeId, in.Pid)
		return f.kernel.PokeAttr(in.NodeId, out)
	}
	if isMemory(in.NodeId) {
		return f.errno("setattr", f.setMemoryAttr(in, out))
	}
	if isControl(in.NodeId) {
		return fuse.EACCES
	}
	if in.Valid&fuse.FATTR_SIZE != 0 {
		defer f.pages.Truncating(in.NodeId)()
	}
	n := f.node(in.NodeId)
	var err error
	fh, hasFh := in.GetFh()
	var h *handle
	if hasFh {
		h = f.handles.get(fh)
	}
	if n == nil {
		n = f.removed(in.NodeId)
	}
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	again, done := t.again.answer()
	if !again.Ok() {
		return again
	}
	if !done {
		if done, err = f.emptiesOpened(in); err != nil {
			return f.errno("setattr", err)
		}
	}
	if !done {
		v, ok := n.(*varsync.Variable)
		if ok && !hasFh && in.Valid&fuse.FATTR_SIZE != 0 && f.misnamed(&in.InHeader, v) {
			return fuse.Status(syscall.ESTALE)
		}
		err = f.setattr(n, h, in, t.task)
	}
	if err != nil {
		return f.errno("setattr", err)
	}
	if now := f.node(in.NodeId); now != nil {
		n = now // a draft is a variable now
	}
	// The committed size, also to who is gathering a value: the kernel takes it for everybody's.
	f.openAttr(n, in.NodeId, &out.Attr)
	f.pages.Wrote(in.NodeId)
	f.pages.Answered(in.NodeId, in.Pid)
	f.setShown(in.NodeId, &out.Attr)
	f.kernel.Sized(in.NodeId, out.Size, true)
	return fuse.OK
}

// Access tells what the mode bits say: the daemon, not the kernel, decides.
func (f *FS) Access(_ <-chan struct{}, in *fuse.AccessIn) (status fuse.Status) {
	defer f.end(f.begin("access", &in.InHeader), &status)
	n := f.node(in.NodeId)
	if m := f.memory.node(in.NodeId); m != nil {
		n = m
	}
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	return f.errno("access", f.may(&in.InHeader, n, in.Mask&7))
}

// StatFs answers df from memory, and has the figures refreshed for the next one.
func (f *FS) StatFs(_ <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) (status fuse.Status) {
	defer f.end(f.begin("statfs", h), &status)
	l := f.c.Limits()
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, names.Max
	out.Blocks = uint64(l.Total) / blockSize
	out.Bfree = uint64(l.Free) / blockSize
	out.Bavail = out.Bfree
	return fuse.OK
}

// Forget counts down what the kernel holds.
func (f *FS) Forget(id, n uint64) {
	if f.kernel.Forget(id, n) {
		f.pages.Forgotten(id)
		f.unshared.forgotten(id)
		f.memory.forgotten(id)
		f.control.forgotten(id)
		f.early.remove(id)
	}
}
