package fs

import (
	"time"

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

// lostName is a node that has lost a name. Until that is announced the kernel can open the node under that name, and for
// a moment longer: a thread can have walked the path before the announcement, and its request arrive after it. So an open
// counts only from a thread that has looked the node up since; another is told ESTALE, at which the kernel looks the whole
// path up again.
type lostName struct {
	waiting int
	until   time.Time       // once nothing waits: how long requests from before can still come
	seen    map[uint32]bool // threads that may open it, once
}

// lostTime is longer than a thread takes from a look at a path to its request, also on a busy machine.
const lostTime = time.Second

// fading is a lostName that is announced.
type fading struct {
	id    uint64
	until time.Time
}

// keys are the names that an item changes.
func (it *item) keys() []localKey {
	parent := orRoot(it.Parent)
	switch {
	case it.refresh:
		return []localKey{{parent, it.name}}
	case it.Own || it.Kind == varsync.Modified || it.Kind == varsync.MetaChanged:
		return nil // the kernel made the change itself, or no name changes
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
		m := n.lostNames[it.ID]
		if m == nil {
			m = &lostName{}
			n.lostNames[it.ID] = m
		}
		m.waiting++
		m.seen = map[uint32]bool{}
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
	if m := n.lostNames[it.ID]; m != nil && it.loses() {
		if m.waiting--; m.waiting == 0 {
			m.until = time.Now().Add(lostTime)
			n.fading = append(n.fading, fading{it.ID, m.until})
		}
	}
	n.fadeLocked()
}

// fadeLocked forgets the lost names whose time is over; n.mu must be held.
func (n *notifier) fadeLocked() {
	now := time.Now()
	for len(n.fading) > 0 && now.After(n.fading[0].until) {
		f := n.fading[0]
		n.fading = n.fading[1:]
		if m := n.lostNames[f.id]; m != nil && m.waiting == 0 && m.until.Equal(f.until) {
			delete(n.lostNames, f.id)
		}
	}
	if len(n.fading) == 0 {
		n.fading = nil
	}
}

// told notes what a lookup by a thread answers, and reports whether a change of the name is still to be announced.
func (n *notifier) told(thread uint32, parent uint64, name string, id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if m := n.lostNames[id]; m != nil {
		m.seen[thread] = true
	}
	c := n.changes[localKey{parent, name}]
	if c != nil {
		c.told = id
	}
	return c != nil
}

// lost reports whether a thread may be opening the first of the ids, which is below the others, by a name that one of them
// has lost.
func (n *notifier) lost(thread uint32, ids ...uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.lostNames) == 0 {
		return false
	}
	n.fadeLocked()
	lost := false
	for _, id := range ids {
		m := n.lostNames[id]
		if m == nil {
			continue
		}
		if !m.seen[thread] {
			lost = true
			// Once the kernel knows, the next try is right, whether it looks up or not (a path through /proc/self/fd does not).
			if m.waiting == 0 {
				m.seen[thread] = true
			}
			continue
		}
		delete(m.seen, thread)
	}
	return lost
}

// losing reports whether it is still to be announced that a node has lost a name.
func (n *notifier) losing(id uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.lostNames[id]
	return m != nil && m.waiting > 0
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
