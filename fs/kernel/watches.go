package kernel

import (
	"time"

	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// statTries is how often the kernel is asked to take the second link: an attribute reply counts for nothing in it if
// something else about the node arrived since the request was made. That can be a reply from before, which the first try
// leaves no other of, the invalidation of an announcement, whose poke then waits for the rename, and the one that ends the
// keeping for the rename before.
const statTries = 4

// keeping is a rename over a node that the kernel may not have carried out yet.
type keeping struct {
	thread uint32 // that makes it: once it asks for the node again, the rename is over
}

// KeepWatches prepares the kernel for a thread's rename over a variable, which keeps its node: the kernel would take the
// node for removed and end its watches. Told before that it has two links, it takes away one. Until it has done so, which no
// handler sees, every reply says two ([Cache.Links]). It is called in the RENAME handler, so the wait is bounded; the handler
// calls the result when it knows its answer, whatever that is, and whether the variable has a new value.
func (c *Cache) KeepWatches(thread uint32, id uint64, path []string, dir uint64, file string) (answered func(changed bool)) {
	t, k := c.threads.Load(), &keeping{thread}
	if t == nil || !c.keep(id, k) {
		return func(bool) {}
	}
	op := poke.Op{Kind: poke.StatSync, Path: names.Path(path)}
	done := make(chan struct{})
	c.wg.Go(func() {
		defer close(done)
		for range statTries {
			c.report(op, t.stater.Do(op))
		}
	})
	timer := time.NewTimer(200 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	return func(changed bool) {
		c.wg.Go(func() {
			<-done
			c.renamedOver(id, k, name{dir, file}, changed)
		})
	}
}

// renamedOver ends what KeepWatches began, once the kernel has carried the rename out. Until then the variable's name
// could lead to the file that was moved there, and the event of the new value with it: it is raised again.
func (c *Cache) renamedOver(id uint64, k *keeping, at name, changed bool) {
	c.forgetName(at) // waits for the directory, which the kernel holds until the rename is over
	c.mu.Lock()
	over := true
	if n := c.nodeLocked(id); n != nil {
		over = n.endKeeping(func(o *keeping) bool { return o == k })
	}
	c.mu.Unlock()
	if over {
		c.forgetName(at) // who has looked it up since was told two, and would leave one when removing it
		c.forgetNode(id)
	}
	if !changed {
		return
	}
	if n, ok := c.tree.Value(id); ok {
		n.Own = true
		c.Changed([]varsync.Notice{n})
	}
}

// keep begins a keeping, if the kernel has the node.
func (c *Cache) keep(id uint64, k *keeping) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodeLocked(id)
	if n != nil {
		r := n.uncommon()
		r.kept = append(r.kept, k)
	}
	return n != nil
}

// Links is the number of links that a reply tells of a variable; see KeepWatches.
func (c *Cache) Links(id uint64) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodeLocked(id)
	if n == nil {
		return 1
	}
	if n.two = n.rare != nil && len(n.rare.kept) > 0; n.two {
		return 2
	}
	return 1
}

// Settled is told that the kernel holds the lock of a variable's directory, so that every rename over it there has been
// carried out. It reports whether the kernel was told of two links last: a removal would leave one, and the watches.
func (c *Cache) Settled(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodeLocked(id)
	if n == nil {
		return false
	}
	n.endKeeping(func(*keeping) bool { return true })
	return n.two
}
