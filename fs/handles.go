package fs

import (
	"cmp"
	"slices"
	"sync"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// handles are the open files, by the number that the kernel has for them.
type handles struct {
	mu    sync.RWMutex // guards the following
	m     map[uint64]*handle
	dirs  map[uint64]*dirHandle
	next  uint64
	nodes map[uint64]*openNode

	estate *estate.Estate // nil: nobody takes them over
}

// openNode is what is known of a file that is open.
type openNode struct {
	ids     []uint64          // its number, and those of files that have become it
	handles []*handle         // never changed in place
	orphan  *unshared         // what it has become by being removed
	now     *varsync.Variable // what it has become by being moved, nil: what its number says
}

func (hs *handles) init() {
	hs.m, hs.dirs, hs.nodes = map[uint64]*handle{}, map[uint64]*dirHandle{}, map[uint64]*openNode{}
	hs.next = pokeHandle
}

func (hs *handles) add(h *handle) uint64 {
	hs.mu.Lock()
	hs.next++
	fh := hs.next
	hs.mu.Unlock()
	if hs.estate != nil {
		hs.estate.SetLastHandle(fh)
		h.record = hs.estate.AddHandle(estate.Opened{Fh: fh, Node: h.node, Flags: h.flags, Opener: h.opener, Paged: h.paged})
	}
	h.polled = h.record
	h.note()
	hs.put(fh, h)
	return fh
}

func (hs *handles) put(fh uint64, h *handle) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.m[fh] = h
	n := hs.nodes[h.node]
	if n == nil {
		n = &openNode{ids: []uint64{h.node}}
		hs.nodes[h.node] = n
	}
	n.handles = append(slices.Clip(n.handles), h)
}

func (hs *handles) get(fh uint64) *handle {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return hs.m[fh]
}

func (hs *handles) remove(fh uint64) {
	h := hs.get(fh)
	if h == nil {
		return
	}
	hs.mu.Lock()
	delete(hs.m, fh)
	n := hs.nodes[h.node]
	i := slices.Index(n.handles, h)
	if n.handles = slices.Concat(n.handles[:i], n.handles[i+1:]); len(n.handles) == 0 {
		for _, id := range n.ids {
			delete(hs.nodes, id)
		}
	}
	hs.mu.Unlock()
	h.mu.Lock()
	rec := h.record
	h.record = nil // nothing is noted any more; see become for who does without mu
	h.mu.Unlock()
	if rec != nil {
		hs.estate.RemoveHandle(rec)
	}
}

// now is what the file of a variable has become that is gone: where its value was moved.
func (hs *handles) now(v *varsync.Variable) *varsync.Variable {
	return cmp.Or(hs.node(v.ID()).now, v).Now()
}

// become records that a file, if it is open, is the variable from now on: by either number the descriptors are those of both.
func (hs *handles) become(id uint64, v *varsync.Variable) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	n := hs.nodes[id]
	if n == nil || id == v.ID() {
		return
	}
	if n.orphan != nil { // a descriptor was too early, and took the file for removed: that is not what v is
		n.now = v
		return
	}
	if o := hs.nodes[v.ID()]; o == nil {
		n.ids = append(n.ids, v.ID())
	} else if o != n {
		n.ids, n.handles, n.orphan = append(n.ids, o.ids...), slices.Concat(n.handles, o.handles), o.orphan
	}
	n.now = v
	for _, id := range n.ids {
		hs.nodes[id] = n
	}
	for _, h := range n.handles {
		if h.polled != nil && h.node != v.ID() {
			h.polled.SetOn(v.ID())
		}
	}
}

// node returns what is known of a node, the zero value if it is not open.
func (hs *handles) node(node uint64) openNode {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	if n := hs.nodes[node]; n != nil {
		return *n
	}
	return openNode{}
}

// of returns the open descriptors of a node.
func (hs *handles) of(node uint64) []*handle { return hs.node(node).handles }

// orphan returns what the file of an open node has become by being removed, nil if that is not known.
func (hs *handles) orphan(node uint64) *unshared { return hs.node(node).orphan }

// orphaned returns what the file of an open node has become by the removal of v, nil for a draft, and whether it was made with
// what data returns.
func (hs *handles) orphaned(node uint64, v *varsync.Variable, data func() []byte) (o *unshared, made bool) {
	if o := hs.orphan(node); o != nil {
		return o, false
	}
	o = newOrphan(data())
	hs.mu.Lock()
	defer hs.mu.Unlock()
	n := hs.nodes[node]
	switch {
	case n == nil, v != nil && n.now != nil && n.now.ID() != v.ID(): // v was moved over another, which is there
		return o, true
	case n.orphan != nil:
		return n.orphan, false
	}
	n.orphan = o
	return o, true
}

// uncommitted reports whether the node has open writers, whose changes the kernel counts but the server may not have.
func (hs *handles) uncommitted(node uint64) bool {
	return slices.ContainsFunc(hs.of(node), func(h *handle) bool { return h.writes || h.gathered.Load() > 0 })
}

// edited reports whether a writer of the node edits what is there.
func (hs *handles) edited(node uint64) bool {
	return slices.ContainsFunc(hs.of(node), func(h *handle) bool { return h.editing.Load() })
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

// count is how many files and directories are open.
func (hs *handles) count() (files, dirs int) {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return len(hs.m), len(hs.dirs)
}

func (hs *handles) addDir(node uint64, d *dirHandle) uint64 {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.next++
	if hs.estate != nil {
		hs.estate.SetLastHandle(hs.next)
		if d.record = hs.estate.AddHandle(estate.Opened{Fh: hs.next, Node: node}); d.record != nil {
			d.record.SetKind(estate.Dir)
		}
	}
	hs.dirs[hs.next] = d
	return hs.next
}

func (hs *handles) putDir(fh uint64, d *dirHandle) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.dirs[fh] = d
}

// from has numbers follow on the last one that was given.
func (hs *handles) from(last uint64) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.next = max(hs.next, last)
}

func (hs *handles) dir(fh uint64) *dirHandle {
	hs.mu.RLock()
	defer hs.mu.RUnlock()
	return hs.dirs[fh]
}

func (hs *handles) removeDir(fh uint64) {
	hs.mu.Lock()
	d := hs.dirs[fh]
	delete(hs.dirs, fh)
	hs.mu.Unlock()
	if d != nil {
		if d.record != nil {
			hs.estate.RemoveHandle(d.record)
		}
		d.close()
	}
}
