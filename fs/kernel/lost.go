package kernel

import (
	"maps"
	"slices"
	"time"
)

// lost is a name, or some, that the kernel has had for a node and has no more.
type lost struct {
	until time.Time       // how long opens by it can still come
	seen  map[uint32]name // threads that may open it, once: those that have looked it up, by this name
}

// lostTime is longer than a thread takes from a look at a path to its request, also on a busy machine.
const lostTime = time.Second

// loseLocked records that the kernel does not have a name for a node any more that is not the node's in the tree.
func (c *Cache) loseLocked(id uint64) {
	n := c.nodeLocked(id)
	if n == nil {
		return
	}
	if n.lost == nil {
		n.lost = &lost{}
	}
	n.lost.until = time.Now().Add(lostTime)
}

// stands reports whether a name stands for a node in the tree.
func (c *Cache) stands(k name, id uint64) bool {
	now, err := c.tree.Find(k.dir, k.file)
	return err == nil && now == id
}

// hasLost reports whether the node may have lost a name. c.mu is held.
func (n *node) hasLost() bool {
	several := n.rare != nil && len(n.rare.names) > 0
	if !several && n.lost != nil && time.Now().After(n.lost.until) {
		n.lost = nil
	}
	return n.lost != nil || several
}

// look records that a thread looks the node up. c.mu is held.
func (n *node) look(thread uint32, k name) {
	if n.lost == nil {
		n.lost = &lost{}
	}
	if n.lost.seen == nil {
		n.lost.seen = map[uint32]name{}
	}
	n.lost.seen[thread] = k
}

// Lost reports whether a thread may be opening the first of the nodes, which is below the others, by a name that one of them
// has lost. At ESTALE the kernel asks for each part of the path again. If the thread comes back to the same node, that is what the path
// leads to: by its present names, or from a directory that is open or the working directory, whatever that is called.
func (c *Cache) Lost(thread uint32, ids ...uint64) bool {
	lost := false
	for _, id := range ids {
		if c.lost(thread, id) {
			lost = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	again := c.again[thread]
	delete(c.again, thread)
	if !lost || again.id == ids[0] && time.Now().Before(again.until) {
		return false
	}
	if len(c.again) > manyAgain {
		maps.DeleteFunc(c.again, func(_ uint32, r retry) bool { return time.Now().After(r.until) })
	}
	c.again[thread] = retry{ids[0], time.Now().Add(lostTime)}
	return true
}

// retry is an open that was answered with ESTALE.
type retry struct {
	id    uint64
	until time.Time
}

// manyAgain is from how many retries on those that never came are forgotten.
const manyAgain = 1 << 10

// Misses records that a thread has looked a name up in vain: what it was to open again it does not.
func (c *Cache) Misses(thread uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.again, thread)
}

// lost reports whether a node has lost a name that a thread may use.
func (c *Cache) lost(thread uint32, id uint64) bool {
	c.mu.Lock()
	n := c.nodeLocked(id)
	if n == nil {
		c.mu.Unlock()
		return false
	}
	names, was := n.names(), n.hasLost()
	var seen name
	looked := false
	if n.lost != nil {
		seen, looked = n.lost.seen[thread]
		delete(n.lost.seen, thread)
	}
	c.mu.Unlock()
	stale := slices.ContainsFunc(names, func(k name) bool { return !c.stands(k, id) })
	return (stale || was) && !(looked && c.stands(seen, id))
}
