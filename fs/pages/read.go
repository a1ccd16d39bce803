package pages

import (
	"syscall"
	"time"
)

// Why is what a thread wants a page for.
type Why uint8

// The reasons.
const (
	Unknown Why = iota // for a mapping, that is
	Reads              // to read: it can do so again
	Copies             // to copy it by way of the page cache: it can do without
)

// Read gives the kernel a part of the value that is shown; false if the node is not cached. Who reads is to do so again upon EINTR,
// who copies to read instead upon EINVAL. A value that has outgrown a page nobody gets: EFBIG.
func (p *Pages) Read(id uint64, buf []byte, off uint64, why func() Why) (n int, err error, ok bool) {
	var value []byte
	for again := true; again; {
		p.mu.Lock()
		d := p.nodes[id]
		if !d.cached() {
			p.mu.Unlock()
			return 0, nil, false
		}
		again = false
		in, dropped, sized := d.state, d.dropped, d.sized
		if d.unsized && in != switching {
			in = unsized
		}
		switch in {
		case current:
			d.visible = d.shown // the kernel has no other page, or would not ask
			d.served++
			value = d.shown.Data
		}
		p.mu.Unlock()
		switch in {
		case current:
			if len(value) > Max && why() != Unknown {
				return 0, syscall.EFBIG, true // its pages could be of several values
			}
			continue
		case dropping:
			// Dropping waits for the page if it was asked for before. If it was not the page would stay.
			if again = closedWithin(dropped, p.done, dropTime); !again {
				value = p.give(d)
			}
			continue
		case waiting, granting, switching:
			var give bool
			if again, give = p.held(d, sized, why); give {
				value = p.give(d)
			}
			if again || give {
				continue
			}
		}
		switch why() {
		case Reads:
			return 0, syscall.EINTR, true
		case Copies:
			return 0, syscall.EINVAL, true
		}
		value = p.give(d)
	}
	if off < uint64(len(value)) {
		n = copy(buf, value[off:])
	}
	return n, nil, true
}

// give gives a page, of the value that is shown.
func (p *Pages) give(n *node) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.served++
	return n.shown.Data
}

// held holds a page back until the kernel has the size of its value (again). If that takes too long for who can be sent away it
// returns false: what makes the kernel take the size can be waiting for the page. A request to set the size is waited for. Whoever writes drops
// the page before he makes the file longer: he is given way by a page of the old value, as long as he waits (give).
func (p *Pages) held(n *node, sized <-chan struct{}, why func() Why) (again, give bool) {
	began := time.Now()
	for {
		if closedWithin(sized, p.done, heldTime) {
			return true, false
		}
		p.mu.Lock()
		granting, truncating, taker, taking := n.state == granting, n.truncating > 0, n.taker, n.taking
		p.mu.Unlock()
		if granting && (taker == 0 || p.source.Blocked(taker) && p.lacks(n.id, taking)) {
			return false, true
		}
		held := time.Since(began)
		if p.ctx.Err() != nil || held > p.source.Bound() || held > holdTime && !truncating && why() != Unknown {
			return false, false
		}
	}
}

// lacks reports whether the kernel has another size. To look at it can take a lock that somebody has who waits for the page.
func (p *Pages) lacks(id uint64, size int64) bool {
	looked := make(chan struct{})
	var has bool
	go func() {
		defer close(looked)
		has = p.has(id, size)
	}()
	return closedWithin(looked, p.done, lookMost) && !has
}

// closedWithin waits for a channel to be closed.
func closedWithin(c, done <-chan struct{}, most time.Duration) bool {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
	case <-done:
	}
	return false
}

// Value is what is read past the page cache: never an older value than was read by way of it, and never a newer one than who
// does that now can find. false: the node is not cached.
func (p *Pages) Value(id uint64) (Value, bool) {
	if p == nil {
		return Value{}, false
	}
	for {
		p.mu.Lock()
		n := p.nodes[id]
		if !n.cached() {
			p.mu.Unlock()
			return Value{}, false
		}
		if !n.undecided() {
			defer p.mu.Unlock()
			return n.visible, true
		}
		dropped := n.dropped
		p.mu.Unlock()
		value, ok := p.source.Value(id)
		p.mu.Lock()
		if ok && value.follows(n.visible) {
			n.visible = value // if nothing is loaded any more, this is what follows
		}
		value = n.visible
		still := n.undecided() && n.dropped == dropped
		p.mu.Unlock()
		if still {
			return value, true
		}
	}
}

// undecided reports whether who begins to read by way of the page cache gets what is loaded later.
func (n *node) undecided() bool {
	return n.state > dropping && n.state < switching || n.state == switching && n.again
}

// Size is what every reply has to tell as the size of a node, false if it is not cached.
func (p *Pages) Size(id uint64) (int64, bool) {
	if p == nil {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.nodes[id]
	if !n.cached() {
		return 0, false
	}
	return int64(len(n.shown.Data)), true
}
