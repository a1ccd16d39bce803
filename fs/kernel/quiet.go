package kernel

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	varsync "github.com/commy-project/commyfs/sync"
)

// Most directories that somebody has looked at nobody watches, but the kernel does not tell. Whoever watches, by inotify, an
// open file or a working directory, holds a reference to the node, and the kernel says when it has dropped one. So after an
// event it is asked to drop the node and its directory: what nobody uses it forgets, and forgotten nodes need no events until
// somebody looks them up again. What is in use stays, and the event after this one is raised like this one was.

const (
	maxPruned = 512  // nodes that are dropped at a time
	maxQuiet  = 1024 // events after which the kernel is asked again, if it kept the directory so far
	// lingering is how long the service of what was dropped stays loaded: it would be as long as the kernel has it, so that
	// what is known can be read without a server.
	lingering = time.Hour
	// pruneWait is how long the next event waits for the kernel to say what it dropped: the poke would look it up again.
	pruneWait = 5 * time.Millisecond
)

// quiet is what has been done to make the kernel drop a directory that may be watched by nobody.
type quiet struct {
	events uint32 // since it was asked last
	every  uint32 // after how many it is asked again
	names  int    // that it had in the directory then
}

// due counts an event, and reports whether it is time to ask. Each time that the kernel has kept all there was, it is asked
// half as often.
func (q *quiet) due(names int) bool {
	if q.events++; q.events < q.every {
		return false
	}
	q.events = 0
	if q.every == 0 || names >= q.names {
		q.every = min(max(1, 2*q.every), maxQuiet)
	}
	q.names = names
	return true
}

// pruning is a directory that the kernel is asked to drop.
type pruning struct {
	id      uint64
	dropped chan struct{}
}

// announced is called when an event of a node in a directory has been raised for a change made elsewhere: it has the kernel
// drop both, now and then, if nobody uses them.
func (c *Cache) announced(id, dir uint64) {
	c.mu.Lock()
	if c.nodeLocked(dir) == nil {
		dir = id // and is watched itself, or nothing is
	}
	if c.nodeLocked(dir) == nil || c.kept || dir == fuse.FUSE_ROOT_ID {
		c.mu.Unlock()
		return
	}
	q := c.quiet[dir]
	due := q.due(len(c.names[dir]))
	c.quiet[dir] = q
	if !due {
		c.mu.Unlock()
		return
	}
	ids, left := make([]uint64, 0, 16), maxPruned
	ids = append(c.belowLocked(dir, ids, &left), id, dir)
	p := &pruning{dir, make(chan struct{})}
	c.pruning = p
	c.lingerLocked(c.nodeLocked(dir).service)
	busy := len(c.queue.list) > 0
	c.mu.Unlock()
	if err := c.prune(ids); err != nil {
		c.log.Debug("prune", "err", err)
		c.mu.Lock()
		c.kept = errors.Is(err, unix.EINVAL) // the kernel does not know how
		c.mu.Unlock()
		return
	}
	if !busy {
		return
	}
	t := time.NewTimer(pruneWait)
	defer t.Stop()
	select {
	case <-p.dropped:
	case <-t.C:
	case <-c.done:
	}
}

// lingerLocked holds a service for a while.
func (c *Cache) lingerLocked(s *varsync.Service) {
	if s == nil {
		return
	}
	if t := c.lingers[s]; t != nil {
		if !t.Reset(lingering) {
			s.Hold() // it ends twice
		}
		return
	}
	s.Hold()
	c.lingers[s] = time.AfterFunc(lingering, func() {
		s.Release()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.lingers, s)
	})
}

// belowLocked appends nodes that the kernel has below a directory: it keeps a directory of which it has a name.
func (c *Cache) belowLocked(dir uint64, ids []uint64, left *int) []uint64 {
	for _, t := range c.names[dir] {
		if *left--; *left < 0 {
			break
		}
		ids = append(c.belowLocked(t.id, ids, left), t.id)
	}
	return ids
}

// droppedLocked is called when the kernel has dropped a node.
func (c *Cache) droppedLocked(id uint64) {
	if p := c.pruning; p != nil && p.id == id {
		close(p.dropped)
		c.pruning = nil
	}
}

// prune makes the kernel drop nodes that are not in use, each with its names. It waits for nothing.
func (d *device) prune(ids []uint64) error {
	body := make([]byte, 0, 16+8*len(ids))
	body = binary.NativeEndian.AppendUint32(body, uint32(len(ids)))
	body = append(body, make([]byte, 12)...)
	for _, id := range ids {
		body = binary.NativeEndian.AppendUint64(body, id)
	}
	return d.notify(fuse.NOTIFY_PRUNE, body)
}
