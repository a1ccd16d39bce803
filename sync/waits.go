package sync

import (
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// before returns what a notice of a service must not be told before of.
func (m *moves) before(s *Service, n *Notice) *half {
	if n.Kind == Modified || n.Kind == MetaChanged {
		return nil
	}
	if n.Kind != Deleted {
		h := m.at[place(n.Path)]
		if h != nil && h.s == s && h.notice.ID != n.ID && !m.together(h, n) {
			return h
		}
	}
	if !n.Dir || n.Kind == Created {
		return nil
	}
	dir := n.Path
	if n.Kind == Renamed {
		dir = n.OldPath
	}
	for h := range m.under[place(dir)] {
		if h.s == s {
			return h
		}
	}
	return nil
}

// together reports whether something was exchanged with what has left, and both are going to be told to have moved.
func (m *moves) together(left *half, n *Notice) bool {
	mv := n.move
	return mv != nil && mv.with == left.notice.ID && (mv.over != nil || m.left[n.ID] != nil)
}

func place(path []string) string { return strings.Join(path, "/") }

// add has what has left a service wait for the other half.
func (m *moves) add(h *half) {
	m.left[h.notice.ID] = h
	path := h.notice.Path
	m.at[place(path)] = h
	for i := range path {
		dir := place(path[:i])
		if m.under[dir] == nil {
			m.under[dir] = map[*half]struct{}{}
		}
		m.under[dir][h] = struct{}{}
	}
}

// remove has it not wait any more, and nobody for it.
func (m *moves) remove(h *half) {
	m.away.settled(h.nodes)
	delete(m.left, h.notice.ID)
	path := h.notice.Path
	if at := place(path); m.at[at] == h {
		delete(m.at, at)
	}
	for i := range path {
		dir := place(path[:i])
		if delete(m.under[dir], h); len(m.under[dir]) == 0 {
			delete(m.under, dir)
		}
	}
}

// arrived has what has come to a service not wait any more.
func (m *moves) arrived(h *half) {
	delete(m.come, h.notice.ID)
	for id := range h.came {
		if m.in[id] == h {
			delete(m.in, id)
		}
	}
}

// ahead reports whether what has come to a service still has to leave the other.
func (c *Client) ahead(h *half) bool {
	if h.over == nil || c.moves.come[h.notice.ID] != h {
		return false
	}
	_, rev := serviceOfNode(h.over).progress()
	return rev < h.notice.Rev
}

// within returns what has come to the service and still is in another one, if a notice is of what is in it, and does not come with it.
func (st *settling) within(n *Notice) *half {
	if len(st.m.in) == 0 || n.Kind == Created && st.groups[n.Parent] != nil {
		return nil
	}
	for _, id := range []uint64{n.ID, n.Parent, n.OldParent} {
		if h := st.m.in[id]; h != nil && h.s == st.s && (id != h.notice.ID || n.ID != id || n.Kind == Modified || n.Kind == MetaChanged) {
			return h
		}
	}
	return nil
}

// waitsFor returns what a notice must not be told before of. drop: it must not be told at all.
func (st *settling) waitsFor(n *Notice) (h *half, drop bool) {
	if h := st.within(n); h != nil {
		if st.c.ahead(h) {
			return h, false
		}
		return nil, true // the other service has it again, and this one is going to say so
	}
	for h := st.m.before(st.s, n); h != nil; h = st.m.before(st.s, n) {
		if to := st.c.serviceByID(h.other); to != nil && (to.Watched() || st.c.bring(to)) {
			return h, false
		}
		for _, n := range st.c.lose(h) {
			st.tell(n)
		}
	}
	return nil, false
}

// exchanged reports whether two notices of one service say that two nodes got each other's name.
func exchanged(first, then *Notice) bool {
	return first.Kind == Renamed && then.Kind == Renamed && first.ID != then.ID && slices.Equal(first.Path, then.OldPath) && slices.Equal(first.OldPath, then.Path)
}

// takeApart takes out of a directory, which is about to be taken out itself, what has come to another service on its own.
func (s *Service) takeApart(prefix []string, n Node, e *model.Event) (out []Notice) {
	d, ok := n.(*Dir)
	if !ok || d.gone || len(s.c.moves.come) == 0 {
		return nil
	}
	for _, n := range below(nil, d)[1:] {
		if h := s.c.moves.come[n.ID()]; h != nil && h.over == n {
			out = append(out, s.removeLocked(prefix, n, &model.Event{Time: e.Time})...)
		}
	}
	return out
}
