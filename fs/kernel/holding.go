package kernel

import (
	"github.com/commy-project/commyfs/fs/estate"
	varsync "github.com/commy-project/commyfs/sync"
)

// holding is a service that the kernel has nodes of. It is noted for the heir, who has to load it before it can answer.
type holding struct {
	service *varsync.Service
	nodes   int
	record  *estate.Service // nil: there is no estate, or no room
}

func (c *Cache) holdLocked(s *varsync.Service) {
	h := c.held[s]
	if h == nil {
		h = &holding{service: s}
		if c.estate != nil {
			// Nothing of it has been announced. An heir announces too much, if anything, until it is noted what was.
			h.record = c.estate.AddService(s.ID(), 0)
			c.cameTo[s.ID()] = 0
			c.wakeUp()
		}
		c.held[s], c.noted[s.ID()] = h, h
	}
	h.nodes++
	s.Hold()
}

// releaseLocked ends one holdLocked; nil is no service.
func (c *Cache) releaseLocked(s *varsync.Service) {
	if s == nil {
		return
	}
	s.Release()
	h := c.held[s]
	if h.nodes--; h.nodes > 0 {
		return
	}
	if h.record != nil {
		c.estate.RemoveService(h.record)
	}
	delete(c.held, s)
	if c.noted[s.ID()] == h {
		delete(c.noted, s.ID())
		delete(c.cameTo, s.ID())
	}
}

// cameToLocked remembers the revision that a notice leads to. A notice of a move does so in two services, and can be behind others
// of the one that was left.
func (c *Cache) cameToLocked(service uint64, rev int64) {
	if c.estate != nil && rev != 0 && c.noted[service] != nil {
		c.cameTo[service] = max(c.cameTo[service], rev)
	}
}

// CameTo says that all changes of a service up to a revision have been given to [Cache.Changed]: once they are announced that is noted.
func (c *Cache) CameTo(service uint64, rev int64) {
	c.mu.Lock()
	c.cameToLocked(service, rev)
	c.mu.Unlock()
	c.wakeUp()
}

// lookedAt bounds how many events are looked at for the oldest of a service.
const lookedAt = 64

// progress notes how far services have come of which all is announced.
func (c *Cache) progress() {
	c.mu.Lock()
	if len(c.cameTo) == 0 || len(c.staleNames)+len(c.staleNodes) > 0 {
		c.mu.Unlock()
		return
	}
	var first []*holding // nothing has been noted of them
	for id, rev := range c.cameTo {
		h := c.noted[id]
		waits, known := c.oldestLocked(id)
		switch {
		case h.record == nil || !known:
		case waits != 0: // what was changed together with it may have been announced: it is again, if need be
			h.noteRev(waits - 1)
			continue
		case rev == 0:
			first = append(first, h)
		default:
			h.noteRev(rev)
		}
		if known {
			delete(c.cameTo, id)
		}
	}
	c.mu.Unlock()
	for _, h := range first {
		rev := h.service.Revision()
		c.mu.Lock()
		// What has come since is in the queue, and is noted when it is announced; but for the last, which may be on its way
		// into it.
		if _, more := c.cameTo[h.service.ID()]; !more && c.noted[h.service.ID()] == h {
			h.noteRev(rev - 1)
		}
		c.mu.Unlock()
	}
}

// noteRev notes that all is announced that came up to a revision.
func (h *holding) noteRev(rev int64) {
	if rev > h.record.Rev() {
		h.record.SetRev(rev)
	}
}

// oldestLocked returns the revision of the first change of a service whose event waits, 0 for none. known is false if there are too
// many events to tell.
func (c *Cache) oldestLocked(service uint64) (rev int64, known bool) {
	known = true
	look := func(list []*event, counts func(*event) bool) {
		for i, e := range list {
			if i == lookedAt {
				known = false
				return
			}
			of := e.Rev
			if e.Service != service {
				of = e.OldRev
			}
			if (e.Service == service || e.OldService == service) && of != 0 && counts(e) {
				if rev == 0 || of < rev {
					rev = of
				}
				return
			}
		}
	}
	look(c.queue.list, func(*event) bool { return true })
	look(c.queue.own, func(e *event) bool { return e.deferred })
	return rev, known
}
