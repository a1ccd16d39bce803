package fs

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Whence of lseek(2) that package syscall has no names for.
const (
	seekData = 3
	seekHole = 4
)

// Lseek finds data and holes: no file has any holes. The kernel finds the end of a file by itself, with its size. It would find
// these so as well, and then GETATTR would not tell who asks for them from who asks for the end.
func (f *FS) Lseek(interrupt <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	size, status := f.sizeToSeek(interrupt, in)
	switch {
	case !status.Ok():
		return status
	case in.Whence != seekData && in.Whence != seekHole:
		return fuse.EINVAL
	case in.Offset >= size:
		return fuse.Status(syscall.ENXIO)
	}
	if out.Offset = in.Offset; in.Whence == seekHole {
		out.Offset = size
	}
	return fuse.OK
}

func (f *FS) sizeToSeek(interrupt <-chan struct{}, in *fuse.LseekIn) (uint64, fuse.Status) {
	ask, attr := fuse.GetAttrIn{InHeader: in.InHeader, Flags_: fuse.FUSE_GETATTR_FH, Fh_: in.Fh}, fuse.AttrOut{}
	if isControl(in.NodeId) {
		ask.Flags_ = 0
	}
	status := f.GetAttr(interrupt, &ask, &attr)
	return attr.Size, status
}

// streamSize is the size that the file of a stream shows. Who has it open sees where it ends for him: programs that follow a file
// look whether it has grown, as tail(1) does, and less(1) goes to its end. If it cannot be seen who asks, it is what was added since
// somebody reads the stream, which is never less: a file that has shrunk would be taken for a new one. Others see a file that is
// not empty, of which splice(2) would not ask us, who refuse it.
func (f *FS) streamSize(n *controlNode, tid uint32) int64 {
	size := uint64(1)
	own := f.control.readers(n)
	if len(own) == 0 {
		return int64(size)
	}
	process := f.callers.process(tid)
	if process == 0 {
		return int64(max(size, f.streams.size(n.query)))
	}
	for _, h := range own {
		if h.process == process {
			size = max(size, h.r.End())
		}
	}
	return int64(size)
}

// readers returns who has a stream open.
func (c *control) readers(n *controlNode) (list []*eventHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.open {
		if h, ok := h.(*eventHandle); ok && h.node == n.id {
			list = append(list, h)
		}
	}
	return list
}

// size is how many bytes have been added to a stream.
func (ss *streams) size(q *eventQuery) uint64 {
	ss.mu.Lock()
	s := ss.m[q.key]
	ss.mu.Unlock()
	if s == nil {
		return 0
	}
	return s.lines.Size()
}
