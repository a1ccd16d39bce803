package fs

import (
	varsync "github.com/commy-project/commyfs/sync"
)

// nameChange is a name whose change the tree has and the kernel may not have yet: it is still to be announced. What the
// kernel is about to remove or rename under such a name can be another node than the one that the tree has there, and
// taking the wrong one would leave the kernel with a directory that it thinks dead.
type nameChange struct {
	waiting int    // items in the queue, or being handled
	told    uint64 // what a lookup has said since: a node, 0 for nothing, or untold
}

const untold = ^uint64(0)

// keys are the names that an item changes.
func (it *item) keys() []localKey {
	parent := orRoot(it.Parent)
	switch {
	case it.refresh:
		return []localKey{{parent, it.name}}
	case it.Own || it.Kind == varsync.Modified:
		return nil // the kernel made the change itself
	case it.Kind == varsync.Renamed:
		return []localKey{{parent, lastName(it.Path)}, {orRoot(it.OldParent), lastName(it.OldPath)}}
	}
	return []localKey{{parent, lastName(it.Path)}}
}

// changingLocked notes that the names of an item are to be announced; n.mu must be held.
func (n *notifier) changingLocked(it *item) {
	for _, k := range it.keys() {
		c := n.changes[k]
		if c == nil {
			c = &nameChange{}
			n.changes[k] = c
		}
		c.waiting++
		c.told = untold
	}
	if it.loses() {
		c := n.moving[it.ID]
		if c == nil {
			c = &nameChange{}
			n.moving[it.ID] = c
		}
		c.waiting++
		c.told = untold
	}
}

// loses reports whether the item takes a name away from its node.
func (it *item) loses() bool {
	return !it.refresh && !it.Own && (it.Kind == varsync.Renamed || it.Kind == varsync.Deleted)
}

// expect is called before a change becomes visible in the tree: from then on, until its announcement, the kernel is behind.
func (n *notifier) expect(notices []varsync.Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range notices {
		n.changingLocked(&item{Notice: notices[i]})
	}
}

// settled ends it: the kernel knows.
func (n *notifier) settled(it *item) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range it.keys() {
		if c := n.changes[k]; c != nil {
			if c.waiting--; c.waiting == 0 {
				delete(n.changes, k)
			}
		}
	}
	if c := n.moving[it.ID]; c != nil && it.loses() {
		if c.waiting--; c.waiting == 0 {
			delete(n.moving, it.ID)
		}
	}
}

// told notes what a lookup answers, and reports whether a change of the name is still to be announced.
func (n *notifier) told(parent uint64, name string, id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.moving[id]; m != nil {
		m.told = id
	}
	c := n.changes[localKey{parent, name}]
	if c != nil {
		c.told = id
	}
	return c != nil
}

// lost reports whether the kernel may hold a node under a name that it has lost: it has not looked it up since.
func (n *notifier) lost(ids ...uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.moving) == 0 {
		return false
	}
	for _, id := range ids {
		if m := n.moving[id]; m != nil && m.told != id {
			return true
		}
	}
	return false
}

// changing reports whether a change of the name is still to be announced.
func (n *notifier) changing(parent uint64, name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changes[localKey{parent, name}] != nil
}

// stale reports whether the kernel can take a name for another node than the given one. Told ESTALE it looks again. Files
// of this mount are not concerned: nobody else renames them.
func (n *notifier) stale(parent uint64, name string, node varsync.Node) bool {
	if node != nil && isLocal(node) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.changes[localKey{parent, name}]
	return c != nil && (node == nil || c.told != node.ID())
}
