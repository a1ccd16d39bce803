package fs

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// What reads a file by way of the page cache although it is DIRECT_IO: sendfile, splice and copy_file_range to another file
// system, and private mappings, which exec makes too. The page cache mixes values: those are refused that can do without,
// by EINVAL, upon which programs read and write instead. A mapping cannot be refused without killing its program. It gets
// what is committed at the moment, and a change drops the pages.

// copying are the system calls that copy by way of the page cache.
var copying = []int{unix.SYS_SENDFILE, unix.SYS_SPLICE, unix.SYS_TEE, unix.SYS_COPY_FILE_RANGE}

// copies reports whether a thread that reads into the page cache does so to copy. One that cannot be looked at counts as
// reading a mapping.
func (f *FS) copies(h *handle, thread uint32) bool {
	return !h.exec && f.copiesNow(thread)
}

func (f *FS) copiesNow(thread uint32) bool {
	return thread != 0 && slices.Contains(copying, f.syscall(thread))
}

// readPage reads what is committed, whatever the descriptor has read so far; h.mu must be held.
func (h *handle) readPage(buf []byte, off uint64) (int, error) {
	s, v := h.now(), h.variable()
	if s.view() == nil || v == nil {
		return h.readAt(buf, off)
	}
	data, _, err := v.Load(nil)
	if err != nil {
		return h.readAt(buf, off)
	}
	if len(data) == 0 {
		h.fs.kernel.Sized(h.node, 0, false) // the kernel makes it the file's size
	}
	if off >= uint64(len(data)) {
		return 0, nil
	}
	return copy(buf, data[off:]), nil
}

// showSize has the kernel see that a file is not empty any more, before anybody reads by way of the page cache: it would
// not ask us.
func (f *FS) showSize(v *varsync.Variable) {
	if !f.kernel.TakesForEmpty(v.ID()) {
		return
	}
	if size := v.Current().Size; size > 0 {
		if err := f.kernel.Grow(v.ID(), size); err != nil {
			f.log.Debug("size of a file that is not empty any more", "id", v.ID(), "err", err)
		}
	}
}

// CopyFileRange copies within the mount, a part of what the one descriptor reads into the other.
func (f *FS) CopyFileRange(_ <-chan struct{}, in *fuse.CopyFileRangeIn) (n uint32, status fuse.Status) {
	t := f.begin("copy_file_range", &in.InHeader)
	defer f.end(t, &status)
	if t.again.how != fresh {
		return 0, fuse.EIO // nobody knows how much of it was done
	}
	from, to := f.handles.get(in.FhIn), f.handles.get(in.FhOut)
	if from == nil || to == nil || !to.writes || to.appends {
		return 0, fuse.EBADF
	}
	data, err := f.rangeOf(from, in)
	if err != nil {
		return 0, f.errno("copy_file_range", err)
	}
	to.mu.Lock()
	defer to.unlock()
	to.task = t.task
	for len(data) > 0 {
		piece := data[:min(len(data), maxWrite)]
		if err := to.writeAt(int64(in.OffOut)+int64(n), piece, in.Pid); err != nil {
			if n > 0 {
				break
			}
			return 0, f.errno("copy_file_range", err)
		}
		n += uint32(len(piece))
		data = data[len(piece):]
	}
	if f.pages != nil {
		f.pages.Wrote(in.NodeIdOut)
		f.pages.TakesWrite(in.Pid, in.NodeIdOut, int64(in.OffOut)+int64(n))
	}
	return n, fuse.OK
}

// rangeOf reads what is to be copied. The kernel has cut the length at what it takes for the end of the file: where that can
// be the end of an older value the caller has to read and write, or it would copy a part and be content.
func (f *FS) rangeOf(h *handle, in *fuse.CopyFileRangeIn) ([]byte, error) {
	h.mu.Lock()
	defer h.unlock()
	buf := make([]byte, min(in.Len, uint64(f.c.Welcome().Limits.Value)))
	n, err := h.readAt(buf, in.OffIn)
	if err != nil {
		return nil, err
	}
	end := in.OffIn + uint64(n)
	if uint64(n) == in.Len && (end == f.kernel.LastSize(in.NodeId) || f.handles.uncommitted(in.NodeId)) {
		if more, err := h.readAt(make([]byte, 1), end); err != nil || more > 0 {
			return nil, syscall.EINVAL
		}
	}
	return buf[:n], nil
}
