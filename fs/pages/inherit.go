package pages

import "time"

// What a process that has died had cached, the process that takes the mount over does not know: the kernel can have pages and a
// size of an older value. Who asks for a page or a size waits until it has dropped them. Who finds a page before that reads
// what was current when the process died.

// Inherit takes over a node with so many descriptors that read by way of the page cache. It comes before the first request.
func (p *Pages) Inherit(id uint64, handles int) {
	if p == nil {
		return
	}
	value, ok := p.source.Value(id)
	if !ok {
		return // it was removed, and its content has died with the process
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.nodes[id] = &node{
		id: id, opened: time.Now(), state: waiting, expect: -1, handles: handles, shown: value, visible: value, inherited: true,
		dropped: make(chan struct{}), sized: make(chan struct{}), settled: make(chan struct{}),
	}
}

// startInherited has the kernel drop what it has of the nodes that were taken over.
func (p *Pages) startInherited() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if n.inherited {
			p.goLocked(func() { p.settle(n) })
		}
	}
}

// dropInherited has the server ask, and the kernel drop what it has. p.mu is held, not meanwhile.
func (p *Pages) dropInherited(n *node) {
	p.mu.Unlock()
	if err := p.source.Cache(p.ctx, n.id); err != nil {
		p.log.Warn("the server does not ask before it acknowledges changes of a cached variable: they follow", "id", n.id, "err", err)
	}
	p.mu.Lock()
	p.dropAll(n)
	n.inherited = false
}

// AwaitInherited waits until the kernel has nothing of the process before of a node, which it could take for what we tell.
func (p *Pages) AwaitInherited(id uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	n := p.nodes[id]
	if n == nil || !n.inherited {
		p.mu.Unlock()
		return
	}
	dropped := n.dropped
	p.mu.Unlock()
	p.bounded(dropped)
}
