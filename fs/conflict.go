package fs

import (
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Conflict control (S14). A descriptor has a condition if the mount was asked to fail conflicts, or somebody has given it a
// version by setxattr: its changes are then refused unless the variable has the version that the descriptor has seen.

// ConflictMode says what becomes of a change of a version that its writer has not seen.
type ConflictMode uint8

// The modes.
const (
	ConflictOverwrite ConflictMode = iota // it is made: the last writer wins
	ConflictFail                          // it fails with ESTALE
)

func (f *FS) failsConflicts() bool { return f.o.Conflict == ConflictFail }

// condition is what a descriptor has seen of its file. Its handle's mu is held to change it.
type condition struct {
	seen  atomic.Pointer[varsync.Seen] // nil: the descriptor overwrites whatever is there
	given bool                         // the version is one that somebody has given, and holds until a change is made
}

// sees notes the version that a descriptor finds in its file, at the open or by reading it; h.mu must be held.
func (h *handle) sees(version uint64) {
	if !h.fs.failsConflicts() || !h.writes || h.cond.given {
		return
	}
	if seen := h.cond.seen.Load(); seen != nil {
		seen.Set(version)
	} else {
		h.cond.seen.Store(varsync.NewSeen(version))
	}
}

// opened notes what a descriptor sees that has just been opened.
func (h *handle) opened() {
	version := uint64(0) // a draft: there is no such variable
	if v := h.variable(); v != nil {
		version = v.Current().Version
		if r := h.state.view(); r != nil && r.snap.version != 0 {
			version = r.snap.version
		}
	}
	h.sees(version)
}

// under is what a change of the descriptor depends on, nil: nothing. Appending overwrites nothing.
func (h *handle) under(e *varsync.Edit) *varsync.Seen {
	if e.Kind == varsync.EditAppend && !h.cond.given {
		return nil
	}
	return h.cond.seen.Load()
}

// made is called when a change of the descriptor was made, which led to a version.
func (h *handle) made(version uint64) {
	seen := h.cond.seen.Load()
	if seen == nil {
		return
	}
	if h.cond.given && !h.fs.failsConflicts() {
		h.cond.seen.Store(nil)
	} else if version > seen.Version() {
		seen.Set(version) // of a change without a condition
	}
	h.cond.given = false
	h.noteWritten(version)
}

// follow has the descriptors of a file that have seen the version before a change see the one after it, because what there is then
// they know: the change is this mount's, or the value is the same.
func (f *FS) follow(node, before, after uint64) {
	if !f.failsConflicts() {
		return
	}
	for _, h := range f.handles.of(node) {
		if seen := h.cond.seen.Load(); seen != nil {
			seen.Follow(before, after)
		}
	}
}

// ifVersion is the attribute that gives a descriptor a version.
const ifVersion = "user.commy.if-version"

// descriptor is the one that a thread means by a file that it does not name by a descriptor: the kernel does not tell which one
// fsetxattr(2) was called with. It is the one that is open to write in the thread's process, else in the nearest process
// above it, which the thread may have it from: `setfattr` is a program of its own. If it is not clear which, the error is
// EBADF for none, EBUSY for several.
func (f *FS) descriptor(node uint64, thread uint32) (*handle, error) {
	var open []*handle
	for _, h := range f.handles.of(node) {
		if h.writes {
			open = append(open, h)
		}
	}
	if len(open) == 0 {
		return nil, syscall.EBADF
	}
	if thread == 0 { // in another pid namespace, where nobody can be told from others
		return only(open, func(h *handle) bool { return h.opener == 0 })
	}
	openers := map[*handle]int{}
	for _, h := range open {
		openers[h] = f.callers.process(h.opener)
	}
	for pid, level := f.callers.process(thread), 0; pid > 1 && level < maxAncestors; pid, level = f.callers.parent(pid), level+1 {
		if h, err := only(open, func(h *handle) bool { return openers[h] == pid }); h != nil || err == syscall.EBUSY {
			return h, err
		}
	}
	return nil, syscall.EBADF
}

// maxAncestors bounds how far up a process is looked for that has opened a file.
const maxAncestors = 8

func only(list []*handle, ok func(*handle) bool) (found *handle, err error) {
	err = syscall.EBADF
	for _, h := range list {
		if !ok(h) {
			continue
		}
		if found != nil {
			return nil, syscall.EBUSY
		}
		found, err = h, nil
	}
	return found, err
}

// setIfVersion has the next change that the caller's descriptor makes fail with ESTALE, as often as it is tried, unless the
// variable has the version; 0: there is none.
func (f *FS) setIfVersion(in *fuse.InHeader, value string) error {
	version, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return syscall.EINVAL
	}
	h, err := f.descriptor(in.NodeId, in.Pid)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.unlock()
	if _, ok := h.now().(*private); ok {
		return syscall.ENOTSUP // nobody else has the file
	}
	if e, ok := h.state.(*editor); ok {
		e.await() // what was written before is not meant
	}
	h.cond.seen.Store(varsync.NewSeen(version))
	h.cond.given = true
	return nil
}

// givenVersion is the version that the caller's descriptor was given and that still counts.
func (f *FS) givenVersion(in *fuse.InHeader) (string, bool) {
	h, err := f.descriptor(in.NodeId, in.Pid)
	if err != nil {
		return "", false
	}
	h.mu.Lock()
	defer h.unlock()
	if !h.cond.given {
		return "", false
	}
	return strconv.FormatUint(h.cond.seen.Load().Version(), 10), true
}

// clearIfVersion takes it back.
func (f *FS) clearIfVersion(in *fuse.InHeader) error {
	h, err := f.descriptor(in.NodeId, in.Pid)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.unlock()
	if !h.cond.given {
		return syscall.ENODATA
	}
	h.cond.given = false
	h.cond.seen.Store(nil)
	h.opened()
	return nil
}

// errConflict is what a rename fails with whose caller has not seen what it replaces.
var errConflict = &model.Error{Code: model.CodeConflict, Message: "the variable has changed since it was read"}
