package fs

import (
	"errors"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/transport"
)

// Read implements S4 and S5: at offset 0 a fresh committed value, behind it the rest of the same one.
func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (res fuse.ReadResult, status fuse.Status) {
	defer f.end(f.begin("read", &in.InHeader), &status)
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.temporary() {
		if n, ok := h.l.readAt(buf, in.Offset); ok {
			return fuse.ReadResultData(buf[:n]), fuse.OK
		}
	}
	data, err := f.readable(h, in.Offset)
	if err != nil {
		return nil, f.errno("read", err)
	}
	n := 0
	if in.Offset < uint64(len(data)) {
		n = copy(buf, data[in.Offset:])
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// readable returns what a read at off reads from; h.mu must be held. The result is valid while it is held.
func (f *FS) readable(h *handle, off uint64) ([]byte, error) {
	f.variable(h)
	switch {
	case h.seesOwn():
		return h.buf, nil // its own writes
	case h.v == nil:
		return nil, nil // a draft that nobody has written yet
	case off > 0 && h.read && len(h.pending) == 0:
		return h.snap, nil
	}
	if len(h.pending) > 0 { // its own writes come first
		if err := f.settle(h); err != nil {
			return nil, err
		}
	}
	data, _, err := h.v.Load(h.own[:0])
	if errors.Is(err, transport.ErrNotFound) {
		return h.snap, nil // removed while open: the last value stays readable, as in any file system
	}
	if err != nil {
		return nil, err
	}
	h.keep(data)
	h.read = true
	return data, nil
}
