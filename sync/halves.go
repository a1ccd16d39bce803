package sync

import (
	"slices"
	"strings"
	"time"
)

// What becomes of halves whose other does not come by itself. In all of this Client.steps is held.

// fate decides what becomes of what has left a service.
func (c *Client) fate(h *half) []Notice {
	defer c.lookAfter()
	if h.other == 0 {
		return nil // until all services are brought up to date
	}
	to := c.serviceByID(h.other)
	if to == nil {
		return c.lose(h)
	}
	if c.behind(h) || !to.Watched() && !c.bring(to) {
		return c.lose(h)
	}
	return nil
}

// behind reports whether what has left a service should be in the other one by now. What is exchanged comes by several steps of one
// revision.
func (c *Client) behind(h *half) bool {
	to := c.serviceByID(h.other)
	if to == nil {
		return h.other != 0
	}
	state, rev := to.progress()
	if c.moves.loading[to] {
		rev++ // all of that revision is there
	}
	return state == watched && rev > h.notice.Rev && c.moves.paused[to] == nil
}

// bring has a service loaded, and gives up halves that are not there then.
func (c *Client) bring(to *Service) bool {
	if c.moves.loading[to] {
		return true
	}
	c.moves.loading[to] = true
	if !c.spawn(func() {
		err := to.load(c.ctx)
		c.steps.Lock()
		defer c.steps.Unlock()
		c.notify(c.forgo(func(h *half) bool { return h.other == to.id && (err != nil || c.behind(h)) }, nil))
		delete(c.moves.loading, to)
		c.moves.tally.denied(to, err)
		c.notify(c.untold(false))
	}) {
		delete(c.moves.loading, to)
		return false
	}
	return true
}

// forgo tells of halves that are not waited for any more, as of what is gone or new.
func (c *Client) forgo(left, come func(*half) bool) (out []Notice) {
	m := &c.moves
	for _, h := range m.left {
		if left(h) {
			out = append(out, c.lose(h)...)
		}
	}
	for _, h := range m.come {
		if come != nil && come(h) || isGone(h.over) {
			out = append(out, c.show(h)...)
		}
	}
	out = append(out, m.alone()...)
	return c.tellUpTo(nil, append(out, c.goOn()...))
}

// lose makes of what has left a service what is gone, children first.
func (c *Client) lose(h *half) []Notice {
	c.moves.remove(h)
	if h.other == 0 { // nobody says that it is anywhere else
		h.s.mu.Lock()
		for _, n := range h.nodes {
			if v, ok := n.(*Variable); ok {
				v.removed = true
			}
		}
		h.s.mu.Unlock()
	}
	h.notice.Elsewhere = h.other != 0
	var out []Notice
	for _, n := range slices.Backward(h.nodes[1:]) {
		in := h.notice
		_, in.Dir = n.(*Dir)
		in.ID, in.Parent, in.MTime, in.Told = n.ID(), stateOf(n).parent, 0, in.Before
		in.Path = join(h.notice.Path, nameIn(h.nodes[0], n))
		out = append(out, in)
	}
	h.notice.Told = h.notice.Rev
	return append(out, h.notice)
}

// nameIn is the path, inside a directory that is gone, of what was in it.
func nameIn(dir, n Node) string {
	var parts []string
	for n != dir {
		switch x := n.(type) {
		case *Variable:
			parts, n = append(parts, x.name), x.parent
		case *Dir:
			parts, n = append(parts, x.name), x.parent
		}
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// show makes of what has come to a service what is new.
func (c *Client) show(h *half) []Notice {
	c.moves.arrived(h)
	out := []Notice{h.notice}
	for id, a := range h.came {
		if id != h.notice.ID {
			out = append(out, *a.notice)
		}
	}
	slices.SortFunc(out[1:], func(a, b Notice) int { return slices.Compare(a.Path, b.Path) })
	return out
}

// force takes out of a service what has come to another one, and will not be told to have left.
func (c *Client) force(come *half) *moved {
	c.moves.arrived(come)
	s := serviceOfNode(come.over)
	h := &half{s: s, with: come.with}
	h.notice = Notice{Kind: Deleted, ID: come.notice.ID, Dir: come.notice.Dir}
	prefix := s.prefix()
	s.mu.Lock()
	defer s.mu.Unlock()
	h.nodes = below(nil, come.over)
	parent, name := s.detachLocked(come.over)
	if parent != nil {
		h.notice.Parent, h.notice.Path = parent.id, join(prefix, joinName(parent.pathLocked(), name))
	}
	h.notice.Service, h.notice.Before, h.notice.Rev, h.notice.Told = s.id, s.rev, s.rev, s.rev
	return joinHalves(h, come)
}

// forced is what is told of that.
func (c *Client) forced(come *half) []Notice {
	j := c.force(come)
	j.complete(c)
	return j.notices()
}

// forsake gives up what waits for a service that is not watched any more; gone: nor known.
func (c *Client) forsake(id uint64, gone bool) []Notice {
	var out []Notice
	if gone {
		out = c.forgo(func(h *half) bool { return h.other == id || h.s.id == id }, func(h *half) bool { return h.other == id })
		for _, h := range c.moves.come {
			if h.s.id == id {
				c.moves.arrived(h)
			}
		}
		return out
	}
	for _, h := range c.moves.come {
		if h.other == id {
			out = append(out, c.forced(h)...)
		}
	}
	return append(out, c.forgo(func(h *half) bool { return h.other == id && !c.moves.loading[c.serviceByID(id)] }, nil)...)
}

func (c *Client) serviceByID(id uint64) *Service {
	s, _ := c.index.get(id).(*Service)
	return s
}

// gather has what is missing in a service wait, while others are brought up to date, until they are: until it is ended as often as
// it was begun.
func (c *Client) gather(on bool) {
	c.steps.Lock()
	defer c.steps.Unlock()
	if on {
		c.moves.gathering++
		c.moves.nothingWaits()
		return
	}
	if c.moves.gathering--; c.moves.gathering > 0 {
		return
	}
	if c.moves.tally != nil {
		c.moves.tally.ended = time.Now()
		c.notify(c.untold(false))
		c.lookAfter()
		return
	}
	c.notify(c.forgo(func(h *half) bool { return h.other == 0 }, nil))
}

// isOn notes that a connection is about to bring all services up to date.
func (c *Client) isOn(sess *session) {
	c.steps.Lock()
	defer c.steps.Unlock()
	c.moves.on = sess
}

// isOff notes whether a connection is over, unless there is another: what is missing then can be in a service that is behind.
func (c *Client) isOff(sess *session, off bool) {
	c.steps.Lock()
	defer c.steps.Unlock()
	if c.moves.on == sess {
		c.moves.off = off
	}
}

// lookAfter has halves looked at that wait too long: a connection can be away.
func (c *Client) lookAfter() {
	m := &c.moves
	if m.timer != nil || !m.waiting() || c.ctx.Err() != nil {
		return
	}
	m.timer = time.AfterFunc(c.longBound(), func() {
		c.steps.Lock()
		m.timer = nil
		c.steps.Unlock()
		c.overdue(c.longBound())
	})
}

// overdue gives up halves that have waited so long.
func (c *Client) overdue(bound time.Duration) {
	c.steps.Lock()
	defer c.steps.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	m := &c.moves
	if m.tally != nil {
		c.notify(c.untold(m.gathering == 0 && !m.off && time.Since(m.tally.ended) >= bound))
		c.lookAfter()
		return
	}
	old := func(h *half) bool { return time.Since(h.since) >= bound }
	out := c.forgo(func(h *half) bool {
		return old(h) && (h.other != 0 || m.gathering == 0) && !m.loading[c.serviceByID(h.other)]
	}, nil)
	for _, h := range m.come {
		// A copy that has come further and has it may have it again.
		if _, rev := serviceOfNode(h.over).progress(); old(h) && rev < h.notice.Rev {
			out = append(out, c.forced(h)...)
		}
	}
	for id, j := range m.joined {
		if h := m.come[j.with]; h != nil && old(h) { // what it was exchanged with, and where that is now another service has it too
			delete(m.joined, id)
			out = append(out, j.notices()...)
		}
	}
	c.notify(c.tellUpTo(nil, out))
	c.lookAfter()
}

// tellUpTo says up to which revisions the services are told once the notices are, which are of a step of s, or nil.
func (c *Client) tellUpTo(s *Service, list []Notice) []Notice {
	waits := map[uint64]int64{} // by service: from which revision on something is not told
	wait := func(n *Notice) {
		if at, ok := waits[n.Service]; !ok || n.Before < at {
			waits[n.Service] = n.Before
		}
	}
	for _, h := range c.moves.left {
		wait(&h.notice)
	}
	for _, h := range c.moves.come {
		wait(&h.notice)
	}
	for _, j := range c.moves.joined {
		wait(&j.renamed)
		wait(&Notice{Service: j.renamed.OldService, Before: j.oldBefore})
	}
	for i := range list {
		n, last := &list[i], i == len(list)-1
		until := func(service uint64, told int64) int64 {
			if at, ok := waits[service]; ok {
				return min(told, at)
			}
			return told
		}
		if s != nil && n.Service == s.id {
			if n.Told = n.Before; last {
				n.Told = n.Rev
			}
		}
		n.Told = until(n.Service, n.Told)
		if n.Kind == Renamed {
			n.OldTold = until(n.OldService, n.OldTold)
		}
	}
	return list
}

// endMoves ends what waits, with the client.
func (c *Client) endMoves() {
	c.steps.Lock()
	defer c.steps.Unlock()
	if c.moves.timer != nil {
		c.moves.timer.Stop()
	}
}
