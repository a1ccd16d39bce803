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
}

// told notes what a lookup answers, and reports whether a change of the name is still to be announced.
func (n *notifier) told(parent uint64, name string, id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.changes[localKey{parent, name}]
	if c != nil {
		c.told = id
	}
	return c != nil
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
