package pages

import (
	"slices"
	"time"
)

// step is a change that was told.
type step struct {
	ids     []uint64
	confirm func() // nil: nobody asks
}

// Old takes it that the values of some nodes are old. It does not wait. confirm is called when the kernel has nothing older than
// what is there now.
func (p *Pages) Old(ids []uint64, confirm func()) {
	p.mu.Lock()
	p.queued++
	for i := 0; i < len(ids); i++ {
		if n := p.nodes[ids[i]]; n != nil {
			n.queued = p.queued
		}
		if also := p.aliases[ids[i]]; also != nil {
			ids = append(slices.Clip(ids), also...)
		}
	}
	p.steps = append(p.steps, step{ids, confirm})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Await waits until what Old has told of a node so far is so.
func (p *Pages) Await(ids ...uint64) {
	if p == nil {
		return
	}
	for {
		p.mu.Lock()
		wait := slices.ContainsFunc(ids, func(id uint64) bool {
			n := p.nodes[id]
			return n != nil && n.queued > p.handled
		})
		moved := p.moved
		p.mu.Unlock()
		if !wait || !p.bounded(moved) {
			return
		}
	}
}

// Wrote waits until the kernel is shown what was written through this mount and is stored.
func (p *Pages) Wrote(id uint64) {
	if !p.Has(id) {
		return
	}
	p.Await(id)
	// What is written to a file that was removed nobody tells.
	value, ok := p.source.Value(id)
	p.mu.Lock()
	n := p.nodes[id]
	differs := ok && n != nil && n.state == current && !slices.Equal(n.shown.Data, value.Data)
	p.mu.Unlock()
	if differs {
		p.Old([]uint64{id}, nil)
		p.Await(id)
	}
}

// Became is called when an open node has become another one, whose changes are its from now on, or is to be cached in another
// service.
func (p *Pages) Became(id, now uint64) {
	if !p.Has(id) {
		return // also where nothing is cached
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id != now {
		p.aliases[now] = append(p.aliases[now], id)
	}
	p.goLocked(func() {
		if err := p.source.Cache(p.ctx, now); err != nil {
			p.log.Debug("changes of what has taken the place of a cached variable", "id", now, "err", err)
		}
		p.Old([]uint64{now}, nil)
	})
}

// unaliasLocked forgets what a node has become, and returns whose changes nobody wants any more.
func (p *Pages) unaliasLocked(id uint64) (unwanted []uint64) {
	for now, list := range p.aliases {
		if list = slices.DeleteFunc(list, func(o uint64) bool { return o == id }); len(list) > 0 {
			p.aliases[now] = list
			continue
		}
		delete(p.aliases, now)
		if p.nodes[now] == nil {
			unwanted = append(unwanted, now)
		}
	}
	return unwanted
}

// run has the kernel drop what is old.
func (p *Pages) run() {
	for {
		select {
		case <-p.wake:
		case <-p.done:
			return
		}
		p.mu.Lock()
		steps := p.steps
		p.steps = nil
		p.mu.Unlock()
		if len(steps) == 0 {
			continue
		}
		seen := map[uint64]struct{}{}
		var waits []<-chan struct{}
		for _, s := range steps {
			for _, id := range s.ids {
				if _, ok := seen[id]; ok {
					continue
				}
				seen[id] = struct{}{}
				if w := p.refresh(id); w != nil {
					waits = append(waits, w)
				}
			}
		}
		for _, w := range waits {
			p.bounded(w)
		}
		for _, s := range steps {
			if s.confirm != nil {
				s.confirm()
			}
		}
		p.mu.Lock()
		p.handled += uint64(len(steps))
		close(p.moved)
		p.moved = make(chan struct{})
		p.mu.Unlock()
	}
}

// refresh has the present value of a node shown. It returns what to wait for, nil for nothing.
func (p *Pages) refresh(id uint64) <-chan struct{} {
	if !p.Has(id) {
		return nil // what is not cached yet is loaded later
	}
	value, ok := p.source.Value(id)
	p.mu.Lock()
	n := p.nodes[id]
	if n == nil {
		p.mu.Unlock()
		return nil
	}
	if ok && !value.follows(n.shown) {
		value = n.shown
	}
	switch n.state {
	case current:
	case dropping:
		defer p.mu.Unlock()
		return n.dropped
	default: // who begins to read from now on waits, and the value is loaded later: once more, if it is loaded by now
		n.again = n.state == switching
		p.mu.Unlock()
		return nil
	}
	if n.handles == 0 && (!ok || time.Since(n.opened) > unused) {
		p.leaveLocked(n)
	} else if ok && len(value.Data) == len(n.shown.Data) && fits(value.Data) {
		n.shown = value
	} else if ok {
		p.resized[id] = time.Now()
		defer p.mu.Unlock()
		p.dropLocked(n)
		if len(n.shown.Data) == 0 { // whoever copies by sendfile does not ask for the size
			return n.settled
		}
		return n.dropped
	}
	p.mu.Unlock()
	if err := p.kernel.DropPages(id); err != nil {
		p.log.Debug("drop pages", "id", id, "err", err)
	}
	p.mu.Lock()
	if n.state == current {
		n.visible = n.shown
	}
	p.mu.Unlock()
	return nil
}
