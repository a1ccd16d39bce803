package fs

import (
	"sync"
	"sync/atomic"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

// handle is an open file description. What a call does depends on the state that it is in:
//
//	           reader        editor             replacer                     private
//	read       a snapshot    the same, behind   what it gathers, once it has reads the orphan
//	                         its own writes     begun; a snapshot before
//	write      EBADF         commits a change   gathers                      changes the orphan
//	ftruncate  EINVAL        commits a change;  changes what it gathers      changes the orphan
//	                         to 0: a replacer
//	flush      nothing       waits for its      commits what was written     nothing
//	                         writes
//	fsync      nothing       the same           commits, if need be nothing  nothing
//	release    nothing       the same           commits, if need be nothing  nothing
//
// A descriptor that replaces (O_TRUNC, or it created the file) edits after its first commit, one that edits replaces after
// ftruncate(fd, 0), and either is private once its file has been removed. Nothing is committed as the empty value, and only
// if nobody else has committed since the open. One on a temporary reads and writes that directly.
type handle struct {
	node      uint64
	reads     bool // it is open for reading
	writable  bool
	created   bool // it made the file
	editor    bool // it was opened to edit what is there
	replacing bool
	appending bool   // O_APPEND: the server decides where the end is
	opener    uint32 // thread
	exec      bool   // execve opened it

	// For stat, which does not take mu: that is held while a commit waits for the server.
	writer   atomic.Uint32 // thread that opened it to replace, or wrote last
	gathered atomic.Int64  // one more than what buf has, while the descriptor sees buf; else 0

	mu   sync.Mutex // guards the following
	v    *varsync.Variable
	l    *local  // a draft or a temporary; v takes over when the draft is committed
	gone *orphan // its file has been removed

	// reading
	snap    []byte // the snapshot that reads behind offset 0 continue
	seen    uint64 // its version, or that of a later change of its own
	own     bool   // snap is in memory of ours
	spare   []byte // memory of ours that is free
	read    bool   // a read took snap
	changed bool   // the descriptor has changed the file since
	ended   ended
	edits   []varsync.Edit // what it has changed since, for when the file is removed; see remember
	edited  int            // their bytes

	// replacing
	base      uint64 // the version at the open
	buf       []byte
	lent      bool  // buf is with the client: copy before changing it
	dirty     bool  // buf has what is not committed
	published bool  // something was committed, or refused: release has nothing to add
	failed    error // why a write was refused: what has a part missing is never published
	refused   bool  // a commit was, and the caller was told: only the caller tries again
	cleared   bool  // replacing since ftruncate(fd, 0), until the next commit; see clear
	idle      *time.Timer
	wrote     time.Time // the last write since, and
	part      bool      // it looks like a part of one
	stamped   bool      // somebody has set a time since the last write:
	mtime     int64     // the value is committed with it
	killed    bool      // the last process to flush was being killed: what it had not flushed is dropped
	asked     time.Time

	// editing
	begun   bool // the first write has been answered
	pending []pendingEdit
	late    []varsync.Edit // edits that came too late: the variable is not there any more
	err     error          // of a write
	told    bool           // err was told
}

type pendingEdit struct {
	*varsync.Ack
	edit varsync.Edit
}

// seesOwn reports whether the descriptor sees what it is gathering, and not the committed value; h.mu must be held.
func (h *handle) seesOwn() bool { return h.replacing && (h.dirty || !h.published) }

// note tells stat how large the value is that is being gathered.
func (h *handle) note() {
	if h.seesOwn() {
		h.gathered.Store(int64(len(h.buf)) + 1)
	} else {
		h.gathered.Store(0)
	}
}

// unlock ends a change of the handle.
func (h *handle) unlock() {
	h.note()
	h.mu.Unlock()
}

// edit makes a replacer, whose value is committed, an editor.
func (h *handle) edit() {
	if h.cleared {
		h.idle.Stop()
	}
	h.snap, h.own, h.read, h.changed = h.buf, false, false, true
	h.edits, h.edited = nil, 0
	h.replacing, h.cleared, h.dirty, h.published, h.refused, h.begun = false, false, false, true, false, true
	h.buf, h.lent, h.stamped = nil, false, false
}

// temporary reports whether the handle is on a file that only this mount knows, and that has not become a variable.
func (h *handle) temporary() bool { return h.l != nil && h.l.temp && h.l.committed() == nil }
