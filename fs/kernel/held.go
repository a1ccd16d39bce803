package kernel

import (
	"maps"
	"slices"

	varsync "github.com/commy-project/commyfs/sync"
)

// node is one that the kernel has. There can be a million: what few have is behind one pointer.
type node struct {
	refs    uint64 // references that replies have given it
	name    name   // by which it has the node; {}: none
	lost    *lost
	service *varsync.Service // that has it; nil above services
	rare    *rare            // nil: nothing of that
	size    uint64
	two     bool // it was last told of two links
	adopted bool // there are references that the process before has given; see adopt.go
	pages   bool // it was given some since they were last invalidated
	empty   bool // it may take the file for empty
}

type rare struct {
	names []name     // others by which it has the node
	kept  []*keeping // see KeepWatches
}

// names are those by which the kernel has the node; nearly always one.
func (n *node) names() []name {
	var list []name
	if n.name != (name{}) {
		list = append(list, n.name)
	}
	if n.rare != nil {
		list = append(list, n.rare.names...)
	}
	return list
}

func (n *node) addName(k name) {
	if n.name == (name{}) {
		n.name = k
		return
	}
	r := n.uncommon()
	r.names = append(r.names, k)
}

func (n *node) removeName(k name) {
	r := n.rare
	switch {
	case n.name != k && r != nil:
		r.names = slices.DeleteFunc(r.names, func(o name) bool { return o == k })
	case n.name != k:
	case r != nil && len(r.names) > 0:
		n.name, r.names = r.names[0], r.names[1:]
	default:
		n.name = name{}
	}
}

func (n *node) uncommon() *rare {
	if n.rare == nil {
		n.rare = &rare{}
	}
	return n.rare
}

// endKeeping forgets the renames of which over says so, and reports whether none is left.
func (n *node) endKeeping(over func(*keeping) bool) bool {
	if n.rare == nil {
		return true
	}
	n.rare.kept = slices.DeleteFunc(n.rare.kept, over)
	left := len(n.rare.kept)
	if left+len(n.rare.names) == 0 {
		n.rare = nil
	}
	return left == 0
}

// name is a file name in a directory.
type name struct {
	dir  uint64
	file string
}

// told is the node that the kernel was last told a name stands for.
type told struct {
	id   uint64
	when uint64 // by Cache.tells
}

// tellings is what the kernel was told of names, by directory and file name.
type tellings map[uint64]map[string]told

func (t tellings) of(k name) told { return t[k.dir][k.file] }

func (t tellings) put(k name, what told) {
	in := t[k.dir]
	if in == nil {
		in = map[string]told{}
		t[k.dir] = in
	}
	in[k.file] = what
}

func (t tellings) remove(k name) {
	in := t[k.dir]
	delete(in, k.file)
	if len(in) == 0 {
		delete(t, k.dir)
	}
}

// Learn counts a reference that a reply to a thread, 0 for nobody's, gives to the kernel. It comes before the attributes are
// looked at: a change from now on is announced. The node's service, nil for none or the same, is held for as long as the
// kernel has the node: who looks at what the kernel caches, or has a watch on it, asks nothing of us.
func (c *Cache) Learn(thread uint32, id uint64, service *varsync.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	if n == nil {
		n = c.addLocked(id)
		n.adopted = c.adopting
	}
	n.refs++
	c.isOfLocked(n, service)
	n.endKeeping(func(k *keeping) bool { return thread != 0 && k.thread == thread })
}

func (c *Cache) addLocked(id uint64) *node {
	n := &node{}
	c.nodes[id] = n
	c.mostNodes = max(c.mostNodes, len(c.nodes))
	return n
}

// isOfLocked has a node's service held, nil for none or the same.
func (c *Cache) isOfLocked(n *node, service *varsync.Service) {
	if service == nil || service == n.service {
		return
	}
	c.holdLocked(service)
	c.releaseLocked(n.service)
	n.service = service
}

// Forget counts references down and reports whether none is left.
func (c *Cache) Forget(id, refs uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	switch {
	case n == nil && c.adopting, n != nil && n.adopted:
		if c.has(id) {
			return false
		}
	case n != nil && n.refs > refs:
		n.refs -= refs
		return false
	}
	if n != nil {
		for _, k := range n.names() {
			c.names.remove(k)
		}
		c.releaseLocked(n.service)
		delete(c.nodes, id)
		if c.mostNodes > manyNodes && len(c.nodes) < c.mostNodes/4 { // a map does not shrink
			c.nodes, c.mostNodes = rebuilt(c.nodes), len(c.nodes)
		}
		delete(c.quiet, id)
	}
	c.droppedLocked(id)
	return true
}

// manyNodes is from how many on the memory of those that were forgotten is given back.
const manyNodes = 1 << 12

func rebuilt[K comparable, V any](m map[K]V) map[K]V {
	small := make(map[K]V, len(m))
	maps.Copy(small, m)
	return small
}

// Knows reports whether the kernel has the node: one that it does not have nobody can be watching.
func (c *Cache) Knows(ids ...uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(ids, func(id uint64) bool { return c.nodeLocked(id) != nil })
}

// Told records that a reply to a thread gives the kernel a node, which it has learned, under a name. It reports whether that is
// what the tree has: if not, the name must not be kept.
func (c *Cache) Told(thread uint32, dir uint64, file string, id uint64) bool {
	k := name{dir, file}
	c.tell(k, id)
	c.mu.Lock()
	if n := c.nodeLocked(id); n != nil && n.hasLost() {
		n.look(thread, k)
	}
	c.mu.Unlock()
	if !c.stands(k, id) {
		c.Refresh(dir, file)
		return false
	}
	return !c.current.Load().moves(k)
}

// tell records that the kernel is told of a node under a name, whatever it had there.
func (c *Cache) tell(k name, id uint64) {
	c.mu.Lock()
	was := c.names.of(k).id
	c.mu.Unlock()
	loses := was != 0 && was != id && !c.stands(k, was)
	c.mu.Lock()
	defer c.mu.Unlock()
	if loses {
		c.loseLocked(was)
	}
	c.nameLocked(k, id)
}

// nameLocked records what a name stands for in the kernel, 0 for nothing.
func (c *Cache) nameLocked(k name, id uint64) {
	if was := c.names.of(k).id; was != id {
		if n := c.nodeLocked(was); n != nil {
			n.removeName(k)
		}
		if n := c.nodeLocked(id); n != nil {
			n.addName(k)
		}
	}
	if c.nodeLocked(id) == nil {
		c.names.remove(k)
		return
	}
	c.tells++
	c.names.put(k, told{id, c.tells})
}

// Removed records that the kernel carries out the removal of a name itself.
func (c *Cache) Removed(dir uint64, file string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nameLocked(name{dir, file}, 0)
}

// Renamed records that the kernel carries out a rename itself: it has the node under the new name then, also where the tree
// has another there.
func (c *Cache) Renamed(id, oldDir uint64, oldFile string, newDir uint64, newFile string) {
	c.estate.MovedOn(id)
	c.mu.Lock()
	c.nameLocked(name{oldDir, oldFile}, 0)
	c.nameLocked(name{newDir, newFile}, id)
	c.mu.Unlock()
	if !c.stands(name{newDir, newFile}, id) {
		c.Refresh(newDir, newFile)
	}
}

// Exchanged records that the kernel carries out itself that two names get each other's node: id has the new name then, other
// the old one.
func (c *Cache) Exchanged(id, other, oldDir uint64, oldFile string, newDir uint64, newFile string) {
	c.estate.MovedOn(id)
	c.estate.MovedOn(other)
	at, to := name{oldDir, oldFile}, name{newDir, newFile}
	c.mu.Lock()
	c.nameLocked(at, 0)
	c.nameLocked(to, id)
	c.nameLocked(at, other)
	c.mu.Unlock()
	if !c.stands(to, id) {
		c.Refresh(newDir, newFile)
	}
	if !c.stands(at, other) {
		c.Refresh(oldDir, oldFile)
	}
}
