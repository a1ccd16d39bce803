package fs

import (
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// open(O_TRUNC) is two requests of one thread with nothing between them: OPEN without the flag, and SETATTR of the size
// without a descriptor. (Were it one, as ATOMIC_O_TRUNC has it, the kernel would take the file for empty at once, and sendfile
// of a value that is still the committed one would find nothing.) openings has what a thread has opened until it asks for
// anything else.
type openings struct {
	m sync.Map // thread -> *handle
	n atomic.Int64
}

func (os *openings) opened(thread uint32, h *handle) {
	if _, had := os.m.Swap(thread, h); !had {
		os.n.Add(1)
	}
}

// take ends what is known of a thread, and returns what it has just opened, nil if that was nothing.
func (os *openings) take(thread uint32) *handle {
	if os.n.Load() == 0 {
		return nil
	}
	h, ok := os.m.LoadAndDelete(thread)
	if !ok {
		return nil
	}
	os.n.Add(-1)
	return h.(*handle)
}

// closed forgets a descriptor.
func (os *openings) closed(h *handle) {
	if os.m.CompareAndDelete(h.opener, h) {
		os.n.Add(-1)
	}
}

// emptiesOpened carries out the second request of open(O_TRUNC). It reports false if that is not what the request is.
func (f *FS) emptiesOpened(in *fuse.SetAttrIn) (done bool, err error) {
	if in.Valid&^fuse.FATTR_LOCKOWNER != fuse.FATTR_SIZE || in.Size != 0 {
		return false, nil
	}
	h := f.openings.take(in.Pid)
	if in.Pid == 0 {
		h = f.openedUnseen(in.NodeId)
	}
	if h == nil || h.node != in.NodeId || f.truncates(in.Pid) {
		return false, nil
	}
	h.mu.Lock()
	defer h.unlock()
	f.questions.likely.Store(true)
	if v := h.variable(); v != nil && !h.writes { // open(O_RDONLY|O_TRUNC) truncates as well
		if err := f.may(&in.InHeader, v, mayWrite); err != nil {
			return true, err
		}
	}
	return true, h.empty(in.Pid)
}

// openedUnseen is what a thread may have opened that cannot be told from others: it is in another pid namespace.
func (f *FS) openedUnseen(node uint64) *handle {
	for _, h := range f.handles.of(node) {
		if h.opener != 0 || !h.mu.TryLock() {
			continue
		}
		unused := h.unused()
		h.mu.Unlock()
		if unused {
			return h
		}
	}
	return nil
}

// unused reports whether nothing was done with a descriptor since it was opened.
func (h *handle) unused() bool {
	switch s := h.state.(type) {
	case *reader:
		return !s.taken
	case *editor:
		return !s.taken && !s.begun && len(s.pending) == 0
	}
	return false
}
