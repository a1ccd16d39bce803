package fs

import (
	"bytes"
	"errors"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
)

// Read implements S4 and S5: at offset 0 a fresh committed value, behind it the rest of the same one.
func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (res fuse.ReadResult, status fuse.Status) {
	defer f.end(f.begin("read", &in.InHeader), &status)
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	read := f.read
	if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
		if f.copies(h, in.Pid) {
			return nil, fuse.EINVAL
		}
		f.kernel.paged(in.NodeId)
		read = f.readPage
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := read(h, buf, in.Offset)
	if err != nil {
		return nil, f.errno("read", err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (f *FS) read(h *handle, buf []byte, off uint64) (int, error) {
	if h.temporary() {
		if n, ok := h.l.readAt(buf, off); ok {
			return n, nil
		}
	}
	if o := f.private(h); o != nil {
		return o.readAt(buf, off), nil
	}
	data, err := f.readable(h, off)
	if o := h.gone; o != nil { // since
		return o.readAt(buf, off), nil
	}
	if err != nil || off >= uint64(len(data)) {
		return 0, err
	}
	return copy(buf, data[off:]), nil
}

// readable returns what a read at off reads from; h.mu must be held. The result is valid while it is held.
func (f *FS) readable(h *handle, off uint64) ([]byte, error) {
	f.variable(h)
	switch {
	case h.seesOwn():
		return h.buf, nil
	case h.v == nil:
		return nil, nil // a draft that nobody has written yet
	}
	f.await(h) // its own writes come first
	if off > 0 && h.read && !h.changed {
		if off >= uint64(len(h.snap)) {
			f.follow(h, off)
		}
		return h.snap, nil
	}
	err := f.refresh(h)
	if errors.Is(err, model.ErrNotFound) {
		if h.writable {
			f.lost(h)
		}
		return h.snap, nil // removed while open: the last value stays readable, as in any file system
	}
	h.read = h.read || err == nil
	return h.snap, err
}

// refresh takes a new snapshot. If that fails the old one is what it was: the two never share memory.
func (f *FS) refresh(h *handle) error {
	data, version, own, err := f.load(h)
	if err == nil {
		h.take(data, version, own)
	}
	return err
}

// load returns the value, in memory of ours if it can: polling one descriptor makes no garbage.
func (f *FS) load(h *handle) (data []byte, version uint64, own bool, err error) {
	dst := h.spare[:0]
	if h.v.Service().Local() {
		if size := h.v.Current().Size; int64(cap(dst)) < size {
			dst = make([]byte, 0, size)
		}
	}
	data, meta, err := h.v.Load(dst)
	own = cap(dst) > 0 && cap(data) > 0 && &data[:1][0] == &dst[:1][0]
	return data, meta.Version, own, err
}

// take makes what load returned the snapshot.
func (h *handle) take(data []byte, version uint64, own bool) {
	h.spare = nil
	if h.own {
		h.spare = h.snap
	}
	h.snap, h.seen, h.own = data, version, own
	h.changed, h.edits, h.edited, h.ended = false, nil, 0, ended{}
}

// ended is what a descriptor knows that has read to the end of its snapshot.
type ended struct {
	at      time.Time // when it was told of the end
	version uint64    // that was looked at since, and does not go on where the snapshot ends
}

// comesBack is how much later a descriptor that was at the end reads there again if it follows the file. One that reads a
// value in parts, and asks more than once whether it has it all, is faster.
const comesBack = 100 * time.Millisecond

// follow is a read at off, at the end of the snapshot or behind it. A value that has grown by appending goes on there. Any
// other is as a file that was truncated: this is the end, and who comes back later reads what is there now.
func (f *FS) follow(h *handle, off uint64) {
	now := time.Now()
	back := !h.ended.at.IsZero() && now.Sub(h.ended.at) >= comesBack
	if m := h.v.Current(); m.Version != h.seen && (back || m.Version != h.ended.version) {
		switch data, version, own, err := f.load(h); {
		case err != nil:
		case back, len(data) >= len(h.snap) && bytes.Equal(data[:len(h.snap)], h.snap):
			h.take(data, version, own)
		default:
			h.ended.version = version
			if own {
				h.spare = data
			}
		}
	}
	if off >= uint64(len(h.snap)) && h.ended.at.IsZero() {
		h.ended.at = now
	}
}
