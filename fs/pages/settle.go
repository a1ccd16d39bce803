package pages

import (
	"maps"
	"slices"
	"time"

	"github.com/commy-project/commyfs/fs/poke"
)

// How the kernel is given a value of another size. A reader that reads by way of the page cache does three things, with
// nothing that keeps them together: it makes sure that the size is known, and asks for it if not; it finds the page, and asks
// for it if it is not there; it looks at the size, and copies so much of the page. It must not have the page of one value and
// look at the size of another.
//
//	dropping   The kernel drops the page and forgets the size. Dropping waits for pages that are being read: what was asked
//	           for before it is given, of the old value. What is asked for later must not be there in the end; we do not know
//	           which it is, so it waits for [dropTime], and if something is given the page is dropped again. The size nobody
//	           is told: who begins to read from now on waits.
//	waiting    Who had found the page looks at the old size, as it should. That takes nanoseconds, in which Linux does not
//	           take the processor away from it, unless it is built for low latency. Then [grace] is to be enough. Who asks
//	           for the page from now on waits.
//	switching  Nobody has a page. The kernel is shown the new value, and made to ask for its size, by a system call on the
//	           own mount. When it has it, who waits for it or for the page goes on. If it does not take it in time, who reads
//	           is sent away to come again, and it is made to ask anew. Who has a mapping cannot be sent away, and is given
//	           the page in the end (unsized): then it is dropped again.
//
// The kernel counts for itself that a file grows by a write of this mount, before the value is committed, some time after the
// write was answered. So the answer waits until the page is dropped and nobody has it any more, and the kernel is looked at until
// it has counted (granting); afterwards it is given the size that is shown. Whoever writes drops the page once more before he
// counts, and waits for it if somebody else does.

const (
	grace = 2 * time.Millisecond
	// holdTime is how long a page is held back. What makes the kernel take the size can wait for the page to be unlocked.
	holdTime = 500 * time.Millisecond
	// heldTime is how often it is looked whether somebody waits for it.
	heldTime = 500 * time.Microsecond
	// dropTime is how long a page is held back while pages are dropped.
	dropTime = time.Millisecond
	// tries bounds how often pages are dropped because one was given meanwhile.
	tries = 20
	// growTime is how long the kernel is waited for to count a write; something else can tell it another size before.
	growTime = time.Second
	// arriveTime is what an answer takes at most to be taken.
	arriveTime = 500 * time.Millisecond
	// settleTime is how long the kernel is asked to take a size, lookTime the time between two looks at it.
	settleTime = 200 * time.Millisecond
	lookTime   = 20 * time.Microsecond
	// lookMost is how long a look is waited for by who holds a page back.
	lookMost = 10 * time.Millisecond
)

// dropLocked begins to show another value.
func (p *Pages) dropLocked(n *node) {
	n.state, n.dropped, n.settled = dropping, make(chan struct{}), make(chan struct{})
	p.goLocked(func() { p.settle(n) })
}

func (p *Pages) settle(n *node) {
	for {
		p.mu.Lock()
		if n.inherited {
			p.dropInherited(n)
		} else {
			p.dropAll(n)
			n.state, n.sized = waiting, make(chan struct{})
		}
		close(n.dropped)
		if n.handles > 0 {
			p.mu.Unlock()
			time.Sleep(grace)
			p.mu.Lock()
		}
		if n.granted != nil {
			p.grant(n)
		}
		n.state = switching
		served := n.served
		for n.unsized = true; n.unsized && n.granted == nil && served == n.served; {
			p.mu.Unlock()
			p.show(n)
			size := int64(len(n.shown.Data))
			p.mu.Unlock()
			failed := !p.size(n, size)
			_, named := p.source.Path(n.id)
			p.mu.Lock()
			if n.unsized = failed && named && n.handles > 0 && !p.stopped; n.unsized {
				p.log.Debug("the kernel does not take a size", "id", n.id, "size", size)
			}
		}
		close(n.sized)
		n.sized = nil
		if n.again || n.granted != nil || n.unsized {
			n.state, n.again, n.dropped = dropping, false, make(chan struct{})
			p.mu.Unlock()
			continue
		}
		n.state = current
		close(n.settled)
		n.settled = nil
		p.mu.Unlock()
		return
	}
}

// dropAll drops pages until none has been given since it was asked to: it could be there again. p.mu is held, not meanwhile.
func (p *Pages) dropAll(n *node) {
	for range tries {
		served := n.served
		p.mu.Unlock()
		p.drop(n.id)
		p.mu.Lock()
		if served == n.served {
			return
		}
	}
}

// show shows the value that there is now, at a time when no thread is on the way to the size of the one before. It returns with
// p.mu held.
func (p *Pages) show(n *node) {
	for end := time.Now().Add(p.source.Bound()); ; {
		p.arrived(n)
		value, ok := p.source.Value(n.id)
		p.mu.Lock()
		if len(n.answered) > 0 && !p.stopped && time.Now().Before(end) { // since
			p.mu.Unlock()
			continue
		}
		if ok && value.follows(n.visible) {
			n.visible = value
		}
		n.shown = n.visible
		return
	}
}

// grant has the kernel take a size by itself, at a time when it has no page, and returns when it has. p.mu is held.
func (p *Pages) grant(n *node) {
	granted, took := n.granted, make(chan struct{})
	n.taking, n.took = n.expect, took
	n.granted, n.expect = nil, -1
	n.state = granting
	close(granted)
	size := n.taking
	p.mu.Unlock()
	taken := p.look(n.id, size, took)
	p.mu.Lock()
	if !taken { // nobody knows what it has
		n.unsized = true
		p.mu.Unlock()
		p.drop(n.id)
		p.mu.Lock()
	}
	n.state = waiting
}

func (p *Pages) drop(id uint64) {
	if err := p.kernel.DropPages(id); err != nil {
		p.log.Debug("drop pages", "id", id, "err", err)
	}
}

// size has the kernel take a size, and reports whether it has. It takes none while something else about the node is under way;
// a request of this mount to set the size can wait for the server.
func (p *Pages) size(n *node, size int64) bool {
	end := time.Now().Add(p.source.Bound())
	for deadline := time.Now().Add(settleTime); time.Now().Before(deadline); {
		path, ok := p.source.Path(n.id)
		if !ok {
			return false
		}
		asked := make(chan struct{})
		p.wg.Go(func() {
			defer close(asked)
			// Having taken the size it may wait for a page, whose reader waits for us: another thread looks.
			_ = p.asker.Do(poke.Op{Kind: poke.StatSync, Path: path})
		})
		for answered := false; !answered; {
			select {
			case <-asked:
				answered = true
			case <-p.done:
				return false
			case <-time.After(lookTime):
			}
			if now, err := p.looker.Size(path); err == nil && now == size {
				return true
			}
			p.mu.Lock()
			if n.truncating > 0 {
				deadline = earlier(time.Now().Add(settleTime), end)
			}
			p.mu.Unlock()
			if time.Now().After(deadline) {
				return false
			}
		}
		time.Sleep(lookTime)
	}
	return false
}

// look waits until the kernel has a size, that it is on the way to: until it is seen to have it, or took is closed. It returns
// false if that takes too long.
func (p *Pages) look(id uint64, size int64, took <-chan struct{}) bool {
	for deadline := time.Now().Add(growTime); time.Now().Before(deadline); {
		if p.has(id, size) || closedWithin(took, p.done, lookTime) {
			return true
		}
	}
	return false
}

// has reports whether the kernel has a size, or none that matters, as nobody can ask for it.
func (p *Pages) has(id uint64, size int64) bool {
	path, ok := p.source.Path(id)
	if !ok {
		return true
	}
	now, err := p.looker.Size(path)
	return err != nil || now == size
}

// Answered is called before a thread is told what is Size in answer to a request to set something: the kernel takes that size,
// whatever it has been told meanwhile, when the thread comes to it. Until GoesOn, or until it is doing something else, nothing
// else is shown.
func (p *Pages) Answered(id uint64, thread uint32) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if !n.cached() {
		return
	}
	if n.answered == nil {
		n.answered = map[uint32]time.Time{}
	}
	n.answered[thread] = time.Now()
}

// GoesOn is called for each request of a thread about a node, or when it is known otherwise that it has come to what it was
// answered.
func (p *Pages) GoesOn(id uint64, thread uint32) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if n == nil {
		return
	}
	delete(n.answered, thread)
	if n.took != nil && n.taker == thread && n.state == granting {
		close(n.took)
		n.took = nil
	}
}

// arrived waits until the kernel has taken the sizes that it was told in answers.
func (p *Pages) arrived(n *node) {
	for wait := lookTime; ; wait *= 2 {
		p.mu.Lock()
		maps.DeleteFunc(n.answered, func(_ uint32, at time.Time) bool { return time.Since(at) > arriveTime })
		threads := slices.Collect(maps.Keys(n.answered))
		p.mu.Unlock()
		if len(threads) == 0 {
			return
		}
		select {
		case <-time.After(wait):
		case <-p.done:
			return
		}
		for _, t := range threads {
			if !p.source.Sets(t) {
				p.GoesOn(n.id, t)
			}
		}
	}
}

// Truncating says that a request to set the size of a node is being handled, until done is called: the kernel takes no other
// size meanwhile.
func (p *Pages) Truncating(id uint64) (done func()) {
	if p == nil {
		return func() {}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if !n.cached() {
		return func() {}
	}
	n.truncating++
	return func() {
		p.mu.Lock()
		n.truncating--
		p.mu.Unlock()
	}
}

// Takes is called before a reply upon which the kernel takes a size by itself: a write up to there, or what a writer is told of
// what it has not committed. It waits until nobody reads the value that is shown, and has the kernel take its size again then.
func (p *Pages) Takes(thread uint32, id uint64, size int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	n := p.nodes[id]
	if !n.cached() {
		p.mu.Unlock()
		return
	}
	if n.granted == nil {
		n.granted = make(chan struct{})
	}
	n.expect, n.taker = size, thread
	granted := n.granted
	if n.state == current {
		p.dropLocked(n)
	}
	p.mu.Unlock()
	p.bounded(granted)
}

// TakesWrite is Takes for a write that ends at size, if that is behind the end of what is shown.
func (p *Pages) TakesWrite(thread uint32, id uint64, size int64) {
	if shown, ok := p.Size(id); ok && size > shown {
		p.Takes(thread, id, size)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
