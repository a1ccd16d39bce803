package fs

import (
	"slices"
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
	*varsync.Pending
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

// handles are the open files, by the number that the kernel has for them.
type handles struct {
	mu    sync.RWMutex // guards the following
	m     map[uint64]*handle
	dirs  map[uint64]*dirHandle
	next  uint64
	nodes map[uint64]*openNode
}

// openNode is what is known of a node that is open.
type openNode struct {
	handles []*handle
	orphan  *orphan           // what it has become
	moved   *varsync.Variable // what its file is now: it was renamed over that
}

func (hs *handles) init() {
	hs.m, hs.dirs, hs.nodes = map[uint64]*handle{}, map[uint64]*dirHandle{}, map[uint64]*openNode{}
	hs.next = pokeHandle
}

func (hs *handles) add(h *handle) uint64 {
	h.note()
	h.editor = h.writable && !h.replacing
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.next++
	hs.m[hs.next] = h
	n := hs.nodes[h.node]
	if n == nil {
		n = &openNode{}
		hs.nodes[h.node] = n
	}
	n.handles = append(n.handles, h)
	return hs.next
}

func (hs *handles) get(fh uint64) *handle {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return hs.m[fh]
}

func (hs *handles) remove(fh uint64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h := hs.m[fh]
	if h == nil {
		return
	}
	delete(hs.m, fh)
	n := hs.nodes[h.node]
	if n.handles = slices.DeleteFunc(n.handles, func(o *handle) bool { return o == h }); len(n.handles) == 0 {
		delete(hs.nodes, h.node)
	}
}

// now is what the file of a variable has become that is gone: where its value was moved.
func (hs *handles) now(v *varsync.Variable) *varsync.Variable {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	if n := hs.nodes[v.ID()]; n != nil && n.moved != nil {
		return n.moved
	}
	return v
}

// movedOver records that a variable was renamed over another: its open descriptors are the other's from now on.
func (hs *handles) movedOver(id uint64, v *varsync.Variable) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if n := hs.nodes[id]; n != nil {
		n.moved = v
	}
}

// replaces makes an open descriptor one that replaces.
func (hs *handles) replaces(h *handle) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	h.writable, h.editor = true, false // open(O_RDONLY|O_TRUNC) truncates on Linux
	h.replacing = true
}

// of returns the open descriptors of a node.
func (hs *handles) of(node uint64) []*handle {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	if n := hs.nodes[node]; n != nil {
		return slices.Clone(n.handles)
	}
	return nil
}

// orphan returns what the file of an open node has become by being removed, nil if that is not known.
func (hs *handles) orphan(node uint64) *orphan {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	if n := hs.nodes[node]; n != nil {
		return n.orphan
	}
	return nil
}

// orphaned returns what the file of an open node has become, and whether it was made with what data returns.
func (hs *handles) orphaned(node uint64, data func() []byte) (o *orphan, made bool) {
	if o := hs.orphan(node); o != nil {
		return o, false
	}
	o = &orphan{data: data(), mtime: time.Now()}
	hs.mu.Lock()
	defer hs.mu.Unlock()
	n := hs.nodes[node]
	switch {
	case n == nil:
		return o, true
	case n.orphan != nil:
		return n.orphan, false
	}
	n.orphan = o
	return o, true
}

// uncommitted reports whether the node has open writers, whose changes the kernel counts but the server may not have.
func (hs *handles) uncommitted(node uint64) bool {
	return hs.any(node, func(h *handle) bool { return h.writable })
}

// edited reports whether a writer of the node edits what is there.
func (hs *handles) edited(node uint64) bool {
	return hs.any(node, func(h *handle) bool { return h.editor })
}

func (hs *handles) any(node uint64, is func(*handle) bool) bool {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	n := hs.nodes[node]
	return n != nil && slices.ContainsFunc(n.handles, is)
}

// gathering returns the handle through which the process of thread tid is replacing the node's value, nil if there is
// none: that process sees the size of what it has written, everybody else that of the committed value. (The kernel does
// not say which descriptor an fstat is of.)
func (hs *handles) gathering(node uint64, by *asker) *handle {
	for _, h := range hs.of(node) {
		if h.gathered.Load() > 0 && by.wrote(h) {
			return h
		}
	}
	return nil
}

// writtenBy reports whether a process has made the node's file, or writes to it.
func (hs *handles) writtenBy(node uint64, by *asker) bool {
	return slices.ContainsFunc(hs.of(node), by.wrote)
}

// asker is a thread that asks.
type asker struct {
	tid     uint32
	process func(tid uint32) int
	pid     int // once it is known
}

// wrote reports whether the asker's process has written through the handle.
func (a *asker) wrote(h *handle) bool {
	writer := h.writer.Load()
	if writer == 0 || writer == a.tid {
		return writer != 0
	}
	if a.pid == 0 {
		a.pid = a.process(a.tid)
	}
	return a.pid != 0 && a.process(writer) == a.pid
}

func (hs *handles) addDir(d *dirHandle) uint64 {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.next++
	hs.dirs[hs.next] = d
	return hs.next
}

func (hs *handles) dir(fh uint64) *dirHandle {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return hs.dirs[fh]
}

func (hs *handles) removeDir(fh uint64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	delete(hs.dirs, fh)
}
