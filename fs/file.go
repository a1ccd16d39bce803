package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
)

// What the kernel asks of open files. What is done depends on the state of the descriptor.

// Read implements S4 and S5: at offset 0 a fresh committed value, behind it the rest of the same one.
func (f *FS) Read(interrupt <-chan struct{}, in *fuse.ReadIn, buf []byte) (res fuse.ReadResult, status fuse.Status) {
	if isControlFh(in.Fh) {
		return f.readControl(interrupt, in, buf)
	}
	defer f.end(f.begin("read", &in.InHeader), &status)
	if isMemoryFh(in.Fh) {
		return f.readMemory(in, buf)
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	read := h.readAt
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
		if res, status, ok := f.readShown(in, buf); ok {
			return res, status
		}
		if f.copies(h, in.Pid) {
			return nil, fuse.EINVAL
		}
		f.kernel.Paged(in.NodeId)
		read = h.readPage
	}
	h.mu.Lock()
	defer h.unlock()
	n, err := read(buf, in.Offset)
	if err != nil {
		return nil, f.errno("read", err)
	}
	f.traffic.read.Add(int64(n))
	h.noteRead(in.Pid)
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write takes the data of write(2).
func (f *FS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (n uint32, status fuse.Status) {
	t := f.begin("write", &in.InHeader)
	defer f.end(t, &status)
	f.pages.GoesOn(in.NodeId, in.Pid)
	if status, done := t.again.answer(); done {
		return uint32(len(data)), status
	}
	if isMemoryFh(in.Fh) {
		return f.writeMemory(in, data)
	}
	h := f.handles.get(in.Fh)
	if h == nil || !h.writes {
		return 0, fuse.EBADF
	}
	h.mu.Lock()
	h.task = t.task
	err := f.fenced(h.variable())
	if err == nil {
		err = h.writeAt(int64(in.Offset), data, in.Pid)
	}
	h.unlock()
	if err != nil {
		return 0, f.errno("write", err)
	}
	f.traffic.written.Add(int64(len(data)))
	if f.pages != nil {
		f.pages.Wrote(in.NodeId)
		f.pages.TakesWrite(in.Pid, in.NodeId, int64(in.Offset)+int64(len(data)))
	}
	return uint32(len(data)), fuse.OK
}

// Flush is called for every close of a descriptor, also those that fork and dup made.
func (f *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) (status fuse.Status) {
	defer f.end(f.begin("flush", &in.InHeader), &status)
	f.pages.GoesOn(in.NodeId, in.Pid)
	if in.Fh == pokeHandle || isMemoryFh(in.Fh) || isControlFh(in.Fh) {
		return fuse.OK
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	defer f.pages.Wrote(in.NodeId)
	h.mu.Lock()
	err := h.do(func(s state) error { return s.flush(in.Pid) })
	h.unlock()
	if f.locks.isRanged(in.NodeId) { // the process gives up its fcntl locks of the file, whatever it has closed
		f.unlockAll(h, model.LockRange, in.LockOwner)
	}
	return f.errno("close", err)
}

// Fsync commits what the descriptor has.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) (status fuse.Status) {
	defer f.end(f.begin("fsync", &in.InHeader), &status)
	f.pages.GoesOn(in.NodeId, in.Pid)
	if isMemoryFh(in.Fh) {
		return f.errno("fsync", f.syncMemory(in.Fh))
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.OK
	}
	defer f.pages.Wrote(in.NodeId)
	h.mu.Lock()
	defer h.unlock()
	return f.errno("fsync", h.do(state.fsync))
}

// Release is called once nobody has the description any more; nobody sees its result.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if in.Fh == pokeHandle {
		return
	}
	if isMemoryFh(in.Fh) {
		f.locks.closesOther(in)
		f.releaseMemory(in.Fh)
		return
	}
	if isControlFh(in.Fh) {
		f.locks.closesOther(in)
		f.control.release(in.Fh)
		return
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return
	}
	defer func() {
		f.handles.remove(in.Fh)
		f.locks.unranged(f, h.node)
	}()
	defer f.endAwait(h)
	if h.paged {
		f.pages.Close(h.node)
	}
	f.openings.closed(h)
	var status fuse.Status
	defer f.end(f.begin("release", &in.InHeader), &status)
	if h.locked.Load() {
		owners, closed := f.locks.closes(h)
		defer func() {
			for _, o := range owners {
				f.unlockAll(h, o.kind, o.owner)
			}
			closed()
		}()
	}
	h.mu.Lock()
	defer h.unlock()
	if h.ahead != nil {
		f.questions.likely.Store(false)
	}
	if err := h.do(state.release); err != nil {
		f.log.Warn("a value could not be committed after its last close", "node", h.node, "err", err)
	}
	if h.l != nil && h.l.is(draft) && f.unshared.unref(h.l) {
		parent, name, _ := f.unshared.where(h.l)
		if p, err := f.place(parent); err == nil {
			f.kernel.Refresh(parent, fileName(name, p.level))
		}
	}
}
