package sync

import "strings"

// before returns what a notice of a service must not be told before of.
func (m *moves) before(s *Service, n *Notice) *half {
	if n.Kind == Modified || n.Kind == MetaChanged {
		return nil
	}
	if n.Kind != Deleted {
		h := m.at[place(n.Path)]
		if h != nil && h.s == s && h.notice.ID != n.ID && (n.move == nil || n.move.with != h.notice.ID) { // exchanged, they are told together
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

// remove has it not wait any more.
func (m *moves) remove(h *half) {
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
