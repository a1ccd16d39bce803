package sync

import (
	"sync"
	"sync/atomic"
	"time"
)

// away is what has left a service for another one, where it is not yet: its id stands for nothing meanwhile. With a service that is
// sent again because very much has come to it that takes seconds.
type away struct {
	n  atomic.Int32 // of those below; for a look without the lock
	mu sync.RWMutex // a leaf; guards the following
	of map[uint64]*journey
	// together is that of what is missing while services are brought up to date; nil: nothing is.
	together *journey
}

// journey is the way of all that moved together.
type journey struct {
	since time.Time
	once  sync.Once
	over  chan struct{}
}

// leaves notes that nodes have left for another service, or, known being false, may have.
func (a *away) leaves(nodes []Node, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.together
	if j == nil || known {
		j = &journey{since: time.Now(), over: make(chan struct{})}
	}
	if !known {
		a.together = j
	}
	if a.of == nil {
		a.of = make(map[uint64]*journey, len(nodes))
	}
	for _, n := range nodes {
		a.of[n.ID()] = j
	}
	a.n.Store(int32(len(a.of)))
}

// settled has nobody wait for nodes any more: they are there, or are not going to be.
func (a *away) settled(nodes []Node) {
	if a.n.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range nodes {
		if j := a.of[n.ID()]; j != nil {
			if delete(a.of, n.ID()); j == a.together {
				continue
			}
			j.once.Do(func() { close(j.over) })
		}
	}
	if a.n.Store(int32(len(a.of))); len(a.of) == 0 {
		a.of = nil
	}
}

// end has nobody wait any more.
func (a *away) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range a.of {
		j.once.Do(func() { close(j.over) })
	}
	a.of, a.together = nil, nil
	a.n.Store(0)
}

func (a *away) get(id uint64) *journey {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.of[id]
}

// Moving reports whether anything is on its way from one service to another. It looks at memory only.
func (c *Client) Moving() bool { return c.away.n.Load() > 0 }

// Away reports whether a node is on its way from one service to another.
func (c *Client) Away(id uint64) bool { return c.Moving() && c.away.get(id) != nil }

// Await waits while a node is on its way from one service to another, but not longer than most. It must not be called by
// [Options.OnChange].
func (c *Client) Await(id uint64, most time.Duration) {
	if !c.Moving() || c.index.get(id) != nil {
		return
	}
	t := time.NewTimer(most)
	defer t.Stop()
	for c.index.get(id) == nil {
		j := c.away.get(id)
		if j == nil || time.Since(j.since) > c.longBound() {
			return
		}
		over := j.over
		select {
		case <-over: // a part of what has moved together may have gone another way
			over = nil
		default:
		}
		select {
		case <-over:
		case <-time.After(10 * time.Millisecond):
		case <-c.ctx.Done():
			return
		case <-t.C:
			return
		}
	}
}
