package kernel

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// Changed takes what the tree has changed. It never blocks. What nobody can be watching raises no event, or a million
// variables made elsewhere would wait in the queue: who looks later finds them changed already.
func (c *Cache) Changed(notices []varsync.Notice) {
	var lefts []left
	for i := range notices {
		in := &notices[i]
		if in.Kind == varsync.MetaChanged && in.Dir && !c.tree.Searchable(in.ID) {
			c.refreshIn(in.ID) // the kernel has kept them while everybody could search it
		}
		if moves(in) {
			lefts = append(lefts, c.leftOf(in))
		}
	}
	c.mu.Lock()
	for _, l := range lefts {
		c.leavesLocked(l)
	}
	c.counts.notices += uint64(len(notices))
	for i := 0; i < len(notices); i++ {
		in := notices[i]
		in.Parent, in.OldParent = orRoot(in.Parent), orRoot(in.OldParent)
		c.outdateLocked(&in)
		if in.Kind == varsync.Modified || in.Kind == varsync.Deleted {
			c.polls.changed(in.ID)
		}
		var with *varsync.Notice
		waits := false // it is announced later
		if i+1 < len(notices) && exchanged(&notices[i], &notices[i+1]) {
			i++
			with = &notices[i]
			c.outdateLocked(&varsync.Notice{Kind: with.Kind, Dir: with.Dir, Own: with.Own, ID: with.ID, Parent: in.OldParent,
				OldParent: in.Parent, Path: with.Path, OldPath: with.OldPath})
		}
		if c.nodeLocked(in.ID) != nil || c.nodeLocked(in.Parent) != nil || in.Kind == varsync.Renamed && c.nodeLocked(in.OldParent) != nil ||
			with != nil && c.nodeLocked(with.ID) != nil {
			c.queue.addWith(in, with)
			waits = in.Kind == varsync.Renamed && !in.Own
		}
		if !waits && (in.Kind == varsync.Renamed || in.Kind == varsync.Created || in.Kind == varsync.Deleted) {
			c.estate.MovedOn(in.ID)
			if with != nil {
				c.estate.MovedOn(with.ID)
			}
		}
		c.cameToLocked(in.Service, in.Told)
		c.cameToLocked(in.OldService, in.OldTold)
	}
	work := len(c.staleNames)+len(c.staleNodes)+len(c.queue.list)+len(c.queue.own)+len(c.queue.gathering.list)+len(c.polls.due) > 0
	settles := len(c.cameTo) > 0
	c.mu.Unlock()
	if work || settles {
		c.wakeUp()
	}
}

// MemoryChanged raises MODIFY for a file of bytes that the tree does not have. path is as the mount shows it; pages: the kernel may
// keep some. Changes that come fast are merged.
func (c *Cache) MemoryChanged(id, parent uint64, path []string, mtime int64, pages bool) {
	c.mu.Lock()
	if pages {
		c.staleNodeLocked(id, false)
	}
	known := c.nodeLocked(id) != nil || c.nodeLocked(parent) != nil
	if known {
		c.queue.addEvent(&event{
			Notice:   varsync.Notice{Kind: varsync.Modified, Own: true, ID: id, Parent: parent, Path: path, MTime: mtime},
			ownValue: true, memory: true,
		})
	}
	c.mu.Unlock()
	if known {
		c.wakeUp()
	}
}

// orRoot is the number of a directory that a notice names: the root has none at the server.
func orRoot(id uint64) uint64 {
	if id == 0 {
		return fuse.FUSE_ROOT_ID
	}
	return id
}
