package sync

import (
	"bytes"
	"slices"
)

// moved is what has moved to another service.
type moved struct {
	id   uint64
	with uint64 // what it was exchanged with
	h    *half  // what has left
	// What has come: arrived has it of h.nodes, in their order, as far as it has come behind them; came has the others, by their ids.
	arrived   []arrival
	came      map[uint64]arrival
	renamed   Notice
	beside    []Notice // what has changed on the way
	oldBefore int64
}

func joinHalves(left, come *half) *moved {
	j := &moved{id: left.notice.ID, with: left.with, h: left, came: come.came, oldBefore: left.notice.Before}
	if j.with == 0 {
		j.with = come.with
	}
	n, was := come.notice, &left.notice
	n.Kind, n.Variable, n.Own, n.Told = Renamed, nil, n.Own || was.Own, n.Rev
	n.OldParent, n.OldPath = was.Parent, was.Path
	n.OldService, n.OldRev, n.OldTold = was.Service, was.Rev, was.Rev
	if left.blocks { // the rest of the step is told behind it
		n.OldTold = was.Before
	}
	j.renamed = n
	return j
}

// notices are what is told if it was not exchanged. What is back where it was has not moved.
func (j *moved) notices() []Notice {
	n := j.renamed
	if last := len(j.beside) - 1; last >= 0 {
		n.Told, j.beside[last].Told = n.Before, n.Told
	}
	if n.Service == n.OldService && slices.Equal(n.Path, n.OldPath) {
		if len(n.Risen) == 0 {
			return j.beside
		}
		n.Kind, n.OldParent, n.OldPath, n.OldService, n.OldRev, n.OldTold = MetaChanged, 0, nil, 0, 0, 0
	}
	return append([]Notice{n}, j.beside...)
}

// complete finds out what has changed while it moved: most often nothing but versions. Client.steps is held.
func (j *moved) complete(c *Client) {
	root, _ := j.arrival(0)
	s := serviceOfNode(root.n)
	prefix := s.prefix()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p, name, ok := placeIn(s, root.n); ok { // it can have been renamed since it came
		j.renamed.Parent, j.renamed.Path = p, join(prefix, name)
	}
	var ids []uint64
	var missing []Node
	for i, o := range j.h.nodes {
		if v, ok := o.(*Variable); ok {
			ids = append(ids, v.id)
		}
		a, ok := j.arrival(i)
		if !ok {
			missing = append(missing, o)
			continue
		}
		delete(j.came, o.ID())
		j.compare(prefix, o, &a)
	}
	for _, o := range slices.Backward(missing) {
		n := j.about(Deleted, o)
		n.Parent, n.Path = stateOf(o).parent, j.was(s, prefix, o)
		j.beside = append(j.beside, n)
	}
	var more []Notice
	for _, a := range j.came { // which the other copy did not have
		if a.notice != nil {
			more = append(more, *a.notice)
		}
	}
	slices.SortFunc(more, func(a, b Notice) int { return slices.Compare(a.Path, b.Path) })
	j.beside = append(j.beside, more...)
	c.cachedMoved(j.h.s.id, s.id, ids)
}

// arrival is what has come of a node that has left, by its place among these.
func (j *moved) arrival(i int) (a arrival, ok bool) {
	if i < len(j.arrived) && j.arrived[i].n != nil {
		return j.arrived[i], true
	}
	a, ok = j.came[j.h.nodes[i].ID()]
	return a, ok
}

// placeIn is the directory of a node and its path in its service, whose lock is held.
func placeIn(s *Service, n Node) (parent uint64, name string, ok bool) {
	if n == nil || !s.holdsLocked(n, n.ID()) {
		return 0, "", false
	}
	switch n := n.(type) {
	case *Variable:
		return n.parent.id, n.pathLocked(), true
	case *Dir:
		return n.parent.id, n.pathLocked(), true
	}
	return 0, "", false
}

// about is a notice of something that was moved along.
func (j *moved) about(kind NoticeKind, n Node) Notice {
	r := &j.renamed
	out := Notice{Kind: kind, ID: n.ID(), Service: r.Service, Rev: r.Rev, Before: r.Before, Told: r.Before}
	_, out.Dir = n.(*Dir)
	return out
}

// was is where something is that was moved along, once it is told that what it was in has moved.
func (j *moved) was(s *Service, prefix []string, n Node) []string {
	if n == j.h.nodes[0] {
		return j.renamed.Path
	}
	dir, name := dirOf(n), stateOf(n).name
	if _, at, ok := placeIn(s, s.c.index.get(dir.id)); ok && dir.id != j.id {
		return append(join(prefix, at), name)
	}
	return append(slices.Clone(j.was(s, prefix, dir)), name)
}

// compare finds out what has changed of a node.
func (j *moved) compare(prefix []string, was Node, a *arrival) {
	old := stateOf(was)
	if a.n == nil || !serviceOfNode(a.n).holdsLocked(a.n, a.n.ID()) {
		return // gone since, which was told
	}
	about := func(kind NoticeKind) Notice { // most have not changed
		n := j.about(kind, was)
		n.MTime = a.mtime
		var name string
		n.Parent, name, _ = placeIn(serviceOfNode(a.n), a.n)
		n.Path = join(prefix, name)
		return n
	}
	if j.id != was.ID() && (old.parent != a.parent || old.name != a.name) {
		r := about(Renamed)
		r.OldService, r.OldRev, r.OldTold = r.Service, r.Rev, r.Before
		r.OldParent, r.OldPath = old.parent, j.was(serviceOfNode(a.n), prefix, was)
		j.beside = append(j.beside, r)
	}
	same := old.mtime == a.mtime && old.size == a.size && old.writer == a.writer &&
		(old.value == nil || a.value == nil || bytes.Equal(old.value, a.value))
	if v, ok := a.n.(*Variable); ok {
		if o, ok := was.(*Variable); ok {
			v.takeEdits(o)
		}
	}
	switch {
	case old.version != a.version && same:
		j.renamed.Risen = append(j.renamed.Risen, Rise{was.ID(), old.version, a.version})
	case old.version != a.version:
		n := about(Modified)
		n.Variable, _ = a.n.(*Variable)
		j.beside = append(j.beside, n)
		return
	}
	if old.mtime != a.mtime || old.mode != a.mode {
		j.beside = append(j.beside, about(MetaChanged))
	}
}

func isGone(n Node) bool {
	switch n := n.(type) {
	case *Variable:
		return n.Gone()
	case *Dir:
		return n.Gone()
	}
	return false
}

func serviceOfNode(n Node) *Service {
	switch n := n.(type) {
	case *Variable:
		return n.s
	case *Dir:
		return n.s
	}
	return nil
}

func serviceID(n Node) uint64 {
	if s := serviceOfNode(n); s != nil {
		return s.id
	}
	return 0
}

func dirOf(n Node) *Dir {
	switch n := n.(type) {
	case *Variable:
		return n.parent
	case *Dir:
		return n.parent
	}
	return nil
}
