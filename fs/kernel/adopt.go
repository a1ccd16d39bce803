package kernel

import (
	"errors"
	"iter"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// A mount that takes over from a process that has died does not know what the kernel was told: it asks. The kernel says of any
// node whether it has it. All names are looked up again: their epoch ends ([Cache.Inherit]). So an heir needs no list of either,
// and nobody has to keep one for it.
//
// Until every node of the services that the kernel has nodes of was asked about, a node that is not known may be there: it is
// asked about when something happens to it. How many references the kernel has of such a node nobody knows; when it forgets some
// it is asked whether it has the node still.

// resent marks the number of a request that was read by the process before, and is made again.
const resent = 1 << 63

const (
	notifyResend   = -7 // FUSE_NOTIFY_RESEND; negative as fuse.NOTIFY_INVAL_INODE is
	notifyIncEpoch = -8 // FUSE_NOTIFY_INC_EPOCH
)

// Adopt begins to take the kernel's state for that of a mount whose process has died. It comes after [Cache.Connect], and before
// the first change. threads made system calls on the mount for that process.
func (c *Cache) Adopt(threads []uint32) { c.adopting, c.dead = true, threads }

// Inherit holds the services that were noted, until [Cache.Survey] has seen them, and ends what the kernel knows of names. It
// comes before the first answer.
func (c *Cache) Inherit(services map[*varsync.Service]*estate.Service) error {
	c.mu.Lock()
	for s, rec := range services {
		h := &holding{service: s, record: rec}
		c.held[s], c.noted[s.ID()] = h, h
		c.holdLocked(s)
	}
	c.mu.Unlock()
	return c.notify(notifyIncEpoch, nil)
}

// Resend makes the kernel ask again what the process before has read and not answered.
func (c *Cache) Resend() error { return c.notify(notifyResend, nil) }

// Survey begins to ask the kernel about all nodes of services, so that it is known which it has, which ends what Adopt began. Those
// of services whose changes are not known are taken for changed.
func (c *Cache) Survey(nodes iter.Seq2[uint64, *varsync.Service], unknown func(*varsync.Service) bool,
	services map[*varsync.Service]*estate.Service) {
	c.wg.Go(func() { c.survey(nodes, unknown, services) })
}

func (c *Cache) survey(nodes iter.Seq2[uint64, *varsync.Service], unknown func(*varsync.Service) bool,
	services map[*varsync.Service]*estate.Service) {
	for id, s := range nodes {
		select {
		case <-c.done:
			return
		default:
		}
		c.mu.Lock()
		n := c.nodeLocked(id)
		if n != nil {
			c.isOfLocked(n, s)
		}
		c.mu.Unlock()
		if n != nil {
			c.recountOne(id) // it can have left since it was listed
		}
		if n == nil || s == nil || !unknown(s) {
			continue
		}
		if in, ok := c.tree.Value(id); ok {
			c.Changed([]varsync.Notice{in})
		} else {
			c.mu.Lock()
			c.staleNodeLocked(id, false)
			c.mu.Unlock()
			c.wakeUp()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adopting = false
	for s := range services {
		c.releaseLocked(s)
	}
}

// nodeLocked returns a node, nil if the kernel does not have it.
func (c *Cache) nodeLocked(id uint64) *node {
	n := c.nodes[id]
	if n != nil || !c.adopting || id == 0 || !c.has(id) {
		return n
	}
	n = c.addLocked(id)
	n.adopted, n.pages, n.empty = true, true, true // it may be so
	return n
}

// isOfDead reports whether a request was made by a thread of ours that has died: nobody waits for the answer.
func (c *Cache) isOfDead(h *fuse.InHeader) bool {
	return h.Unique&resent != 0 && slices.Contains(c.dead, h.Pid)
}

// has asks the kernel whether it has a node. Its attributes are asked for again then. It waits for nothing.
func (d *device) has(id uint64) bool {
	const noPages = ^uint64(0)
	return !errors.Is(d.sent(fuse.NOTIFY_INVAL_INODE, 0, inodeBody(id, noPages)), unix.ENOENT)
}
