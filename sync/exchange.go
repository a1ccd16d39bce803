package sync

import "github.com/commy-project/commyfs/model"

// exchangeLocked has two nodes get each other's name. It is one step, and told by two notices, one right behind the other.
func (s *Service) exchangeLocked(prefix []string, e *model.Event, n, other Node) ([]Notice, bool) {
	from, to := placeOf(n), placeOf(other)
	if from.dir == nil || from.dir.s != s || joinName(from.dir.pathLocked(), from.name) != e.OldName || within(from.dir, other) || within(to.dir, n) {
		return nil, false
	}
	out := []Notice{
		{Kind: Renamed, Own: e.Own, ID: e.ID, Parent: to.dir.id, OldParent: from.dir.id, MTime: e.MTime,
			Path: join(prefix, e.Name), OldPath: join(prefix, e.OldName)},
		{Kind: Renamed, Own: e.Own, ID: e.Other, Parent: from.dir.id, OldParent: to.dir.id, MTime: e.MTime,
			Path: join(prefix, e.OldName), OldPath: join(prefix, e.Name)},
	}
	_, out[0].Dir = n.(*Dir)
	_, out[1].Dir = other.(*Dir)
	for _, p := range []nodePlace{from, to} {
		p.dir.renaming(p.dir.childLocked(p.name), p.name)
		p.dir.touched(e)
	}
	takeLocked(n)
	takeLocked(other)
	putAt(n, to)
	putAt(other, from)
	out[0].Risen, out[1].Risen = risenLocked(nil, n, e), risenLocked(nil, other, e)
	return out, true
}

// nodePlace is where a directory or variable is.
type nodePlace struct {
	dir  *Dir
	name string
}

func placeOf(n Node) nodePlace {
	switch n := n.(type) {
	case *Variable:
		return nodePlace{n.parent, n.name}
	case *Dir:
		return nodePlace{n.parent, n.name}
	}
	return nodePlace{}
}

// putAt puts a *Dir or *Variable that was taken out of its directory into another place.
func putAt(n Node, p nodePlace) {
	switch n := n.(type) {
	case *Variable:
		n.parent, n.name = p.dir, p.name
	case *Dir:
		n.parent, n.name = p.dir, p.name
		n.moved = n.s.c.renames.Add(1)
	}
	addLocked(n)
}

// within reports whether a directory is n or below it.
func within(d *Dir, n Node) bool {
	for ; d != nil; d = d.parent {
		if Node(d) == n {
			return true
		}
	}
	return false
}
