package kernel

import (
	"time"

	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// Refresh makes the kernel look a name up again, soon. It never blocks.
func (c *Cache) Refresh(dir uint64, file string) {
	c.mu.Lock()
	c.staleLocked(name{dir, file})
	c.mu.Unlock()
	c.wakeUp()
}

// refreshIn makes the kernel look all names in a directory up again.
func (c *Cache) refreshIn(dir uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for file := range c.names[dir] {
		c.staleLocked(name{dir, file})
	}
}

func (c *Cache) staleLocked(k name) {
	if c.names.of(k).id != 0 {
		c.staleNames[k] = struct{}{}
	}
}

func (c *Cache) staleNodeLocked(id uint64, own bool) {
	if c.nodeLocked(id) == nil {
		return
	}
	was, ok := c.staleNodes[id]
	c.staleNodes[id] = own && (was || !ok)
}

// outdateLocked makes stale what a change of the tree has made old.
func (c *Cache) outdateLocked(in *varsync.Notice) {
	c.staleNodeLocked(in.ID, in.Own && in.Kind == varsync.Modified)
	if in.Kind == varsync.Modified || in.Kind == varsync.MetaChanged {
		return
	}
	c.staleNodeLocked(in.Parent, false) // its time
	if in.Kind == varsync.Renamed {
		c.staleNodeLocked(in.OldParent, false)
	}
	if in.Own {
		return // the kernel makes the change of the name itself
	}
	at, from := name{in.Parent, names.File(in.Path)}, name{}
	switch in.Kind {
	case varsync.Deleted:
		at, from = name{}, at
	case varsync.Renamed:
		from = name{in.OldParent, names.File(in.OldPath)}
	}
	if c.names.of(from).id == in.ID {
		c.staleLocked(from)
	}
	if c.names.of(at).id != in.ID {
		c.staleLocked(at)
	}
}

// invalidate has the kernel drop what is stale, and reports whether there was any.
func (c *Cache) invalidate() bool {
	c.mu.Lock()
	stale, nodes, awaiting := c.staleNames, c.staleNodes, c.awaiting
	if len(stale)+len(nodes)+len(awaiting) == 0 {
		c.mu.Unlock()
		return false
	}
	c.staleNames, c.staleNodes, c.awaiting, c.dropping = map[name]struct{}{}, map[uint64]bool{}, nil, true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.dropping = false
		c.mu.Unlock()
		for _, done := range awaiting {
			close(done)
		}
	}()
	for id, own := range nodes {
		if c.pages.Has(id) {
			c.ForgetAttr(id) // see DropPages
			continue
		}
		// What this mount's writers have written the kernel knows. Invalidating it has the kernel drop the reply to a question
		// for attributes that is under way: lseek to the end would go by an older size. The poke tells them.
		if !own || !c.Raises(Modify) || !c.tree.Written(id) || c.HasPages(id) {
			c.forgetNode(id)
		}
	}
	for k := range stale {
		c.forgetName(k)
	}
	return true
}

// Await returns when the kernel has dropped what the tree had made stale at the call, or reports false when most is over.
func (c *Cache) Await(most time.Duration) bool {
	c.mu.Lock()
	stale := c.dropping || len(c.staleNames) > 0
	for _, own := range c.staleNodes {
		if stale = stale || !own; stale {
			break
		}
	}
	if !stale || c.threads.Load() == nil {
		c.mu.Unlock()
		return true
	}
	done := make(chan struct{})
	c.awaiting = append(c.awaiting, done)
	c.mu.Unlock()
	c.wakeUp()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-c.done:
	}
	return false
}

// forgetNode drops attributes and pages of a node.
func (c *Cache) forgetNode(id uint64) {
	c.mu.Lock()
	n := c.nodeLocked(id)
	if n != nil {
		n.pages = false
	}
	c.mu.Unlock()
	if n == nil {
		return
	}
	if err := c.invalidateInode(id, 0); err != nil {
		c.log.Debug("invalidate node", "id", id, "err", err)
	}
}

// DropPages is forgetNode for package pages, which knows when.
func (c *Cache) DropPages(id uint64) error { return c.invalidateInode(id, 0) }

// cached waits until a value that is to be announced is what the kernel has.
func (c *Cache) cached(id uint64) {
	c.pages.Await(id)
	c.pages.Settle(id)
}

// forgetName drops a name, if the kernel has its directory.
func (c *Cache) forgetName(k name) { c.forgetNameOf(k, 0) }

// forgetNameOf is forgetName of what may be that node's, 0: only what it is known to be.
func (c *Cache) forgetNameOf(k name, id uint64) {
	c.mu.Lock()
	had, knows := c.names.of(k), c.nodeLocked(k.dir) != nil
	c.mu.Unlock()
	if !knows {
		return
	}
	if had.id != 0 {
		id = had.id
	}
	if err := c.invalidateEntry(k, id != 0 && c.tree.Lives(id)); err != nil {
		c.log.Debug("invalidate entry", "parent", k.dir, "err", err)
	}
	loses := had.id != 0 && !c.stands(k, had.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if had.id == 0 || c.names.of(k) != had {
		return // it was told anew meanwhile
	}
	if loses {
		c.loseLocked(had.id)
	}
	c.nameLocked(k, 0)
}

// Stale reports whether the kernel has a name for another node than the tree, which has id, or 0 for nothing.
func (c *Cache) Stale(dir uint64, file string, id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.names.of(name{dir, file}).id
	return was != 0 && was != id
}

// Leaving reports whether the kernel still has a name of a node that the tree does not have any more, or is still to raise
// the event. Until then it must not hear that there is no link.
func (c *Cache) Leaving(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodeLocked(id)
	return n != nil && n.name != (name{}) || c.queue.leaving[id]
}
