package fs

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// handle is an open file description: what it was opened for, and the state it is in.
type handle struct {
	fs                     *FS
	node                   uint64 // the kernel's number of the file
	reads, writes, appends bool   // as open(2) was asked
	opener                 uint32 // thread
	exec                   bool   // execve opened it
	flags                  uint32
	record                 *estate.Handle // what an heir must know; nil: nobody is told, or it is closed
	polled                 *estate.Handle // the same, for who does not hold mu
	task                   *estate.Task   // the request that holds mu, if it changes something
	paged                  bool           // it reads by way of the page cache; see package pages

	// For stat, which does not take mu: that is held while a commit waits for the server.
	writer   atomic.Uint32 // thread that opened it to replace, or wrote last
	gathered atomic.Int64  // one more than the size of what a replacer has gathered, 0 if it has not
	editing  atomic.Bool   // it is an editor

	locked   atomic.Bool // locks were taken by it
	relocked atomic.Bool // since the last read: what it goes on reading is of before
	// For poll, which does not take it either.
	seen   atomic.Uint64            // version that was read last; 0: none
	awaits atomic.Pointer[awaiting] // what a poller was told that it would be told; nil: nothing

	mu    sync.Mutex // guards the following
	v     *varsync.Variable
	l     *unshared // a draft or a temporary; v takes over when the draft is committed
	state state
	ahead *question // asked at the open, nil once that is used
	cond  condition
	noted noted
	asks  int // for locks, that are under way
}

// state is what requests do with an open file description:
//
//	           reader      editor             replacer             private
//	read       a snapshot  the same, behind   what it has          the private file
//	                       its own writes     gathered
//	write      EBADF       commits a change   gathers              changes the file
//	truncate   EINVAL      commits a change   changes what it      changes the file
//	                                          has gathered
//	flush      nothing     waits for its      commits what was     nothing
//	                       writes             written
//	fsync      nothing     the same           commits              nothing
//	release    nothing     the same           commits              nothing
//
// One state follows another:
//
//	reader, editor            -> replacer        open(O_TRUNC)               reader.replace
//	editor                    -> replacer        ftruncate(fd, 0)            editor.clear
//	replacer                  -> editor          its value is committed      replacer.commit
//	reader, editor, replacer  -> private         its file is removed         handle.adopt
//	private                   -> reader, editor  its temporary is a variable handle.now
//
// A descriptor on what only a process had that has died is lapsed, and stays so.
type state interface {
	read(buf []byte, off uint64) (int, error)
	write(off int64, data []byte) error
	truncate(size int64) error
	flush(thread uint32) error // a close of one of its descriptors
	fsync() error
	release() error // the last close

	view() *reader // nil for a private file
}

// errMoved says that the state of a descriptor does not fit its file any more: the next one carries the request out.
var errMoved = errors.New("the file has become another")

func (f *FS) newHandle(node uint64, thread, flags uint32) *handle {
	return &handle{fs: f, node: node, reads: reads(flags), writes: writes(flags), appends: flags&syscall.O_APPEND != 0,
		opener: thread, exec: flags&fmodeExec != 0, flags: flags}
}

// do carries out a request; h.mu must be held.
func (h *handle) do(request func(state) error) error {
	for {
		if err := request(h.now()); err != errMoved {
			return err
		}
	}
}

// readAt and writeAt are do of a read and a write.
func (h *handle) readAt(buf []byte, off uint64) (n int, err error) {
	err = h.do(func(s state) (err error) {
		n, err = s.read(buf, off)
		return err
	})
	return n, err
}

func (h *handle) writeAt(off int64, data []byte, thread uint32) error {
	h.writer.Store(thread)
	return h.do(func(s state) error { return s.write(off, data) })
}

// now is the state of the descriptor, once it is known what has become of its file.
func (h *handle) now() state {
	if _, ok := h.state.(*lapsed); ok {
		return h.state
	}
	if p, ok := h.state.(*private); ok {
		if p.file.committed() == nil {
			return p
		}
		h.state = h.fresh()
		h.opened()
	}
	if h.isRemoved() {
		h.adopt()
	}
	return h.state
}

// fresh is the state of a descriptor on a variable or a draft that has done nothing yet.
func (h *handle) fresh() state {
	if h.writes {
		return &editor{reader: reader{handle: h}}
	}
	return &reader{handle: h}
}

// unlock ends a request, and tells stat about it.
func (h *handle) unlock() {
	h.note()
	h.task = nil
	h.mu.Unlock()
}

func (h *handle) note() {
	_, edits := h.state.(*editor)
	h.editing.Store(edits)
	gathered := int64(0)
	if r, ok := h.state.(*replacer); ok && r.stage != clean {
		gathered = int64(len(r.buf)) + 1
	}
	h.gathered.Store(gathered)
	if r := h.state.view(); r != nil && r.taken {
		h.seen.Store(r.snap.version)
	}
	if h.record != nil {
		h.bequeath()
	}
}

// variable returns the handle's variable, nil for a draft that is not committed; h.mu must be held.
func (h *handle) variable() *varsync.Variable {
	if h.v == nil && h.l != nil {
		if h.v = h.l.committed(); h.v != nil {
			if version, ok := h.l.movedOver(); ok {
				h.sees(version)
			}
		}
	}
	if h.v != nil {
		h.v = h.v.Now()
		if h.v.Removed() {
			h.v = h.fs.handles.now(h.v)
		}
	}
	return h.v
}

// registered reports whether the file is a variable of a bare service: each write is a change of its own and fails by itself, as
// with a device, because its type may not have what is written, and shells ignore what close says.
func (h *handle) registered() bool {
	v := h.variable()
	return v != nil && h.fs.o.Sync != SyncNever && v.Service().Bare() != 0
}

// file is what the descriptor is on, nil if that was removed before the open.
func (h *handle) file() varsync.Node {
	if v := h.variable(); v != nil {
		return v
	}
	if h.l != nil {
		return h.l
	}
	return nil
}

// change is what a write changes.
func (h *handle) change(off int64, data []byte) varsync.Edit {
	e := varsync.Edit{Kind: varsync.EditWrite, Off: off, Data: data}
	if h.appends {
		e = varsync.Edit{Kind: varsync.EditAppend, Data: data}
	}
	e.Seen = h.under(&e)
	return e
}
