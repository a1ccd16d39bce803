package core

import (
	"slices"
	"sync"
	"time"
)

const (
	// So many loaded services are looked after in one go, and for so long: who commits waits meanwhile.
	sweepStep = 4096
	sweepTime = 20 * time.Millisecond

	idStep = 1024 // ids that are put into view.byID, or taken from there, in one go
)

// sweep lets go of services that nobody uses and of memory files that nobody asks for, and sees to it that the others are
// where they belong. The committer calls it now and then.
func (s *Core) sweep() {
	moved := map[*service]struct{}{}
	began := time.Now()
	list := s.nextLoaded()
	for i, svc := range list {
		if time.Since(began) > sweepTime {
			s.swept -= len(list) - i // the next time
			break
		}
		c := svc.content.Load()
		if c == nil || s.view.services[svc.id] != svc {
			continue
		}
		if !s.unload(svc, c) {
			s.checkMemory(svc, c, moved)
			s.checkBare(svc, c)
		}
	}
	var touched touched
	s.pushMoved(moved, &touched)
	touched.wake()
}

// nextLoaded returns some loaded services, and others the next time.
func (s *Core) nextLoaded() []*service {
	v := s.view
	v.mu.RLock()
	defer v.mu.RUnlock()
	if s.swept >= len(v.loaded) {
		s.swept = 0
	}
	n := min(len(v.loaded)-s.swept, sweepStep)
	list := append([]*service(nil), v.loaded[s.swept:s.swept+n]...)
	s.swept += n
	return list
}

// use remembers that somebody uses the service.
func (svc *service) use() { svc.used.Store(time.Now().UnixNano()) }

// since reports how long ago a moment was.
func since(nanos int64) time.Duration { return time.Duration(time.Now().UnixNano() - nanos) }

// unload lets go of a service if nobody has used it for a while. What sessions have of it meanwhile stays as it is; the
// next one that wants it loads it again. A change waits for that, so that what is loaded is current.
func (s *Core) unload(svc *service, c *content) bool {
	if c.building != nil || since(svc.used.Load()) < s.unused {
		return false
	}
	if f := c.bare.Load(); f != nil && !f.Quiet() {
		return false
	}
	if !svc.loading.TryLock() {
		return false
	}
	defer svc.loading.Unlock() // who loads it again waits until its file is closed
	v := s.view
	v.mu.Lock()
	svc.watchMu.Lock()
	idle := len(svc.watches) == 0 && len(svc.askers) == 0
	svc.watchMu.Unlock()
	if idle {
		svc.since.Store(c.log.last())
		svc.content.Store(nil)
		svc.reads.Store(0)
		v.removeLoaded(svc)
	}
	v.mu.Unlock()
	if !idle {
		return false
	}
	s.abandonMemory(c)
	c.closeBare()
	nodes := c.nodes.freeze()
	s.wg.Go(func() { v.forget(nodes) })
	return true
}

// forget takes the variables of a service that was let go from byID, in steps that nobody notices.
func (v *view) forget(nodes frozen) {
	w := nodes.from(nodeKey{})
	for more := true; more; {
		v.mu.Lock()
		for range idStep {
			var it entry
			if it, more = w.next(); !more {
				break
			}
			if it.v != nil {
				v.byID.drop(it.v)
			}
		}
		v.mu.Unlock()
	}
}

// remember puts loaded variables into byID.
func (v *view) remember(vars []*variable) {
	for part := range slices.Chunk(vars, idStep) {
		v.mu.Lock()
		for _, e := range part {
			v.byID.put(e)
		}
		v.mu.Unlock()
	}
}

// addLoaded and removeLoaded keep v.loaded. The caller holds v.mu.
func (v *view) addLoaded(svc *service) {
	svc.at = len(v.loaded)
	v.loaded = append(v.loaded, svc)
}

func (v *view) removeLoaded(svc *service) {
	last := len(v.loaded) - 1
	other := v.loaded[last]
	v.loaded[svc.at], other.at = other, svc.at
	v.loaded[last] = nil
	v.loaded = v.loaded[:last]
}

// checkMemory makes the memory file again that somebody removed, or that could not be had before, and lets go of one that
// nobody has asked for in a while.
func (s *Core) checkMemory(svc *service, c *content, moved map[*service]struct{}) {
	svc.watchMu.Lock()
	wanted := len(svc.askers) > 0
	svc.watchMu.Unlock()
	switch {
	case c.mem != nil && !wanted && since(svc.unasked.Load()) > s.unused:
		s.abandonMemory(c)
	case c.mem != nil && !c.mem.Intact():
		s.wroteMemory(svc, c, true, c.mem.Rotate(), moved)
	case c.mem == nil && c.building == nil && wanted && s.rebuilding.CompareAndSwap(false, true):
		s.wg.Go(func() {
			defer s.rebuilding.Store(false)
			if _, err := s.memoryFile(svc); err != nil {
				return
			}
			_ = s.between(func() { // fails when the server closes
				var touched touched
				s.pushMoved(map[*service]struct{}{svc: {}}, &touched)
				touched.wake()
			})
		})
	}
}

// rarely does something that may have reason to be done very often, once a minute.
type rarely struct {
	// mu guards the following.
	mu   sync.Mutex
	last time.Time
	more int
}

// do calls fn with how many calls have been left out since the last.
func (r *rarely) do(fn func(more int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.last) < time.Minute {
		r.more++
		return
	}
	fn(r.more)
	r.last, r.more = time.Now(), 0
}
