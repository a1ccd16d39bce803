package fs

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

// handle is an open file description.
//
// A replacing handle (O_TRUNC, or it created the file) gathers a value in buf and commits it whole. An editing handle
// commits each write. A handle on a temporary reads and writes that directly.
type handle struct {
	node      uint64
	writable  bool
	created   bool // it made the file
	editor    bool // it was opened to edit what is there
	replacing bool
	appending bool // O_APPEND: the server decides where the end is

	// For stat, which does not take mu: that is held while a commit waits for the server.
	writer   atomic.Uint32 // thread that wrote last
	gathered atomic.Int64  // one more than what buf has, while the descriptor sees buf; else 0

	mu sync.Mutex // guards the following
	v  *varsync.Variable
	l  *local // a draft or a temporary; v takes over when the draft is committed

	// reading
	snap []byte // the snapshot that reads behind offset 0 continue
	own  []byte // memory of ours that snap can be in
	read bool   // a read at offset 0 took snap

	// replacing
	buf       []byte
	lent      bool  // buf is with the client: copy before changing it
	dirty     bool  // buf has what is not committed
	published bool  // something was committed, or refused: release has nothing to add
	failed    error // why a write was refused: what has a part missing is never published
	cleared   bool  // replacing since ftruncate(fd, 0), until the next commit; see clear
	idle      *time.Timer
	killed    bool // the last process to flush was being killed: what it had not flushed is dropped
	asked     time.Time

	// editing
	begun   bool // the first write has been answered
	pending []*varsync.Pending
	err     error // of a write that nobody was told of yet
}

// keep remembers a value as what reads get should there be no other.
func (h *handle) keep(data []byte) {
	h.snap = data
	if h.v.Service().Local() {
		h.own = data // ours to use again
	}
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

// temporary reports whether the handle is on a file that only this mount knows, and that has not become a variable.
func (h *handle) temporary() bool { return h.l != nil && h.l.temp && h.l.committed() == nil }

// handles are the open files, by the number that the kernel has for them.
type handles struct {
	mu    sync.RWMutex // guards the following
	m     map[uint64]*handle
	dirs  map[uint64]*dirHandle
	next  uint64
	nodes map[uint64][]*handle // by node
}

func (hs *handles) init() {
	hs.m, hs.dirs, hs.nodes = map[uint64]*handle{}, map[uint64]*dirHandle{}, map[uint64][]*handle{}
	hs.next = pokeHandle
}

func (hs *handles) add(h *handle) uint64 {
	h.note()
	h.editor = h.writable && !h.replacing
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.next++
	hs.m[hs.next] = h
	hs.nodes[h.node] = append(hs.nodes[h.node], h)
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
	left := slices.DeleteFunc(hs.nodes[h.node], func(o *handle) bool { return o == h })
	if hs.nodes[h.node] = left; len(left) == 0 {
		delete(hs.nodes, h.node)
	}
}

// uncommitted reports whether the node has open writers, whose changes the kernel counts but the server may not have.
func (hs *handles) uncommitted(node uint64) bool {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return slices.ContainsFunc(hs.nodes[node], func(h *handle) bool { return h.writable })
}

// edited reports whether a writer of the node edits what is there.
func (hs *handles) edited(node uint64) bool {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return slices.ContainsFunc(hs.nodes[node], func(h *handle) bool { return h.editor })
}

// made reports whether a descriptor that made the file is open.
func (hs *handles) made(node uint64) bool {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return slices.ContainsFunc(hs.nodes[node], func(h *handle) bool { return h.created })
}

// removed finds a node that is gone, but still open.
func (hs *handles) removed(node uint64) varsync.Node {
	hs.mu.RLock()
	open := slices.Clone(hs.nodes[node])
	hs.mu.RUnlock()
	for _, h := range open {
		if n := h.target(); n != nil {
			return n
		}
	}
	return nil
}

// gathering returns the handle through which the process of thread tid is replacing the node's value, nil if there is
// none: that process sees the size of what it has written, everybody else that of the committed value. (The kernel does
// not say which descriptor an fstat is of.)
func (hs *handles) gathering(node uint64, tid uint32, process func(tid uint32) int) *handle {
	hs.mu.RLock()
	open := slices.Clone(hs.nodes[node])
	hs.mu.RUnlock()
	asker := -1 // not known yet
	for _, h := range open {
		writer := h.writer.Load()
		switch {
		case writer == 0 || h.gathered.Load() == 0:
			continue
		case writer == tid:
			return h
		case asker < 0:
			asker = process(tid)
		}
		if asker != 0 && process(writer) == asker {
			return h
		}
	}
	return nil
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
