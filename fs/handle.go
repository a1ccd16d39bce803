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
	read bool   // there is a snapshot

	// replacing
	buf       []byte
	lent      bool  // buf is with the client: copy before changing it
	dirty     bool  // buf has what is not committed
	published bool  // something was committed, or refused: release has nothing to add
	failed    error // why a write was refused: what has a part missing is never published
	killed    bool  // the last process to flush was being killed: what it had not flushed is dropped
	asked     time.Time

	// editing
	begun   bool // the first write has been answered
	pending []*varsync.Pending
	err     error // of a write that nobody was told of yet
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
	mu      sync.RWMutex // guards the following
	m       map[uint64]*handle
	dirs    map[uint64]*dirHandle
	next    uint64
	writers map[uint64][]*handle // open writable handles of a node
}

func (hs *handles) init() {
	hs.m, hs.dirs, hs.writers = map[uint64]*handle{}, map[uint64]*dirHandle{}, map[uint64][]*handle{}
	hs.next = pokeHandle
}

func (hs *handles) add(h *handle) uint64 {
	h.note()
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.next++
	hs.m[hs.next] = h
	if h.writable {
		hs.writers[h.node] = append(hs.writers[h.node], h)
	}
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
	if h.writable {
		left := slices.DeleteFunc(hs.writers[h.node], func(o *handle) bool { return o == h })
		if hs.writers[h.node] = left; len(left) == 0 {
			delete(hs.writers, h.node)
		}
	}
}

// uncommitted reports whether the node has open writers, whose changes the kernel counts but the server may not have.
func (hs *handles) uncommitted(node uint64) bool {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return len(hs.writers[node]) > 0
}

// gathering returns the handle through which the process of thread tid is replacing the node's value, nil if there is
// none: that process sees the size of what it has written, everybody else that of the committed value. (The kernel does
// not say which descriptor an fstat is of.)
func (hs *handles) gathering(node uint64, tid uint32) *handle {
	hs.mu.RLock()
	writers := slices.Clone(hs.writers[node])
	hs.mu.RUnlock()
	for _, h := range writers {
		writer := h.writer.Load()
		if writer != 0 && h.gathered.Load() > 0 && (writer == tid || process(tid) != 0 && process(writer) == process(tid)) {
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
