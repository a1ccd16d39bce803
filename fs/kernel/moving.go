package kernel

import (
	varsync "github.com/commy-project/commyfs/sync"
)

// A directory can go from one service to another, with all that is in it. To the kernel that is a rename like any other: it keeps
// its nodes. Here each of them counts for the service that it was in (see holding), and there can be a million. The service that
// it has come to is held at once, once for all of them. Which these are is found out afterwards, by a look at every node that
// counts for the other service.

// movingStep is how many nodes are looked at before others have their turn.
const movingStep = 512

// movedTo is where what has left a service may have come to: each of the services is held once for it.
type movedTo map[*varsync.Service]struct{}

// left is a notice of what goes to another service, with what the tree has of both.
type left struct {
	from, to *varsync.Service // nil: the tree does not have it
}

func moves(in *varsync.Notice) bool {
	return in.Kind == varsync.Renamed && in.Service != 0 && in.OldService != 0 && in.Service != in.OldService
}

// leftOf looks at the tree for a notice. c.mu is not held.
func (c *Cache) leftOf(in *varsync.Notice) (l left) {
	l.from, l.to = c.tree.Service(in.OldService), c.tree.Service(in.Service)
	return l
}

// leavesLocked begins to count what has left a service for that which it is in now.
func (c *Cache) leavesLocked(l left) {
	if l.from == nil || l.to == nil || c.held[l.from] == nil || c.stopped {
		return
	}
	to := c.moving[l.from]
	if to == nil {
		to = movedTo{}
		c.moving[l.from] = to
	}
	if _, is := to[l.to]; !is {
		to[l.to] = struct{}{}
		c.holdLocked(l.to)
	}
	if !c.recounts {
		c.recounts = true
		c.wg.Go(c.recount)
	}
}

// recount goes on until nothing has left that was not counted.
func (c *Cache) recount() {
	for {
		c.mu.Lock()
		moving := c.moving
		c.moving = map[*varsync.Service]movedTo{}
		c.recounts = len(moving) > 0
		c.mu.Unlock()
		if len(moving) == 0 || !c.recountLeft(moving) {
			return
		}
		c.mu.Lock()
		for _, list := range moving {
			for to := range list {
				c.releaseLocked(to)
			}
		}
		c.mu.Unlock()
	}
}

// recountLeft looks at the nodes of some services, and reports whether it was not ended.
func (c *Cache) recountLeft(of map[*varsync.Service]movedTo) bool {
	var ids []uint64
	count := func() {
		for _, id := range ids {
			c.recountOne(id)
		}
		ids = ids[:0]
	}
	c.mu.Lock()
	nodes, looked := c.nodes, 0
	for id, n := range nodes { // what is added meanwhile counts for the right one
		if of[n.service] != nil {
			ids = append(ids, id)
		}
		if looked++; looked%movingStep != 0 {
			continue
		}
		c.mu.Unlock()
		count()
		select {
		case <-c.done:
			return false
		default:
		}
		c.mu.Lock()
	}
	c.mu.Unlock()
	count()
	return true
}

// Recount counts a node for the service that it is in: the one that [Cache.Learn] was told of it has left meanwhile.
func (c *Cache) Recount(id uint64) { c.recountOne(id) }

// recountOne counts a node for the service that it is in. In another tenant there can be other rights, which a mode shows.
func (c *Cache) recountOne(id uint64) {
	to := c.tree.Service(id)
	c.mu.Lock()
	n := c.nodes[id]
	if n == nil || n.service == nil || to == nil || n.service == to {
		c.mu.Unlock()
		return
	}
	from := n.service
	c.isOfLocked(n, to)
	c.mu.Unlock()
	if c.tree.SameRights(from, to) {
		return
	}
	c.mu.Lock()
	c.staleNodeLocked(id, false)
	c.mu.Unlock()
	c.wakeUp()
}
