package sync

import (
	"github.com/commy-project/commyfs/transport"
)

// apply carries out events in order and returns what became visible. ok is false when an event does not fit the copy
// (a patch over a version that is not here, an echo of a report that was given up): the caller loads the service anew.
func (s *Service) apply(l *link, rev int64, events []transport.Event) (notices []Notice, ok bool) {
	prefix := s.prefix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		return nil, true
	}
	for i := range events {
		ns, fits := s.applyLocked(l, prefix, &events[i])
		if !fits {
			return notices, false
		}
		notices = append(notices, ns...)
	}
	s.rev = rev
	return notices, true
}

func (s *Service) applyLocked(l *link, prefix []string, e *transport.Event) ([]Notice, bool) {
	switch e.Kind {
	case transport.EventSet:
		return s.setLocked(l, prefix, e)
	case transport.EventMkdir:
		return s.mkdirLocked(prefix, e), true
	case transport.EventDelete, transport.EventRmdir:
		return s.removeLocked(prefix, e), true
	case transport.EventRename, transport.EventRenameDir:
		return s.renameLocked(prefix, e)
	}
	return nil, false
}

func (s *Service) setLocked(l *link, prefix []string, e *transport.Event) ([]Notice, bool) {
	v, _ := s.c.index.get(e.ID).(*Variable)
	if v != nil && (v.s != s || v.gone) {
		v = nil
	}
	created := v == nil
	if created {
		if e.Name == "" {
			return nil, false
		}
		dir, name := s.parentLocked(e.Name)
		if dir == nil || dir.children[name] != nil {
			return nil, false
		}
		v = &Variable{s: s, id: e.ID, name: name, parent: dir}
	} else if e.Version <= v.version {
		return nil, true // known already: a resumed stream may overlap
	}
	if s.buffered() {
		value, ok := v.nextValue(l, e)
		if !ok {
			return nil, false
		}
		v.value = value
	}
	v.version, v.mtime, v.writer, v.size, v.slot = e.Version, e.MTime, e.Writer, e.Size, e.Slot
	n := Notice{Kind: Modified, Own: e.Own, ID: v.id, Parent: v.parent.id, MTime: v.mtime,
		Path: join(prefix, v.pathLocked())}
	if created {
		v.parent.children[v.name] = v
		s.c.index.put(v)
		n.Kind = Created
	}
	return []Notice{n}, true
}

// nextValue returns the bytes that e makes of the variable's value. The old bytes are not touched: readers hold them.
func (v *Variable) nextValue(l *link, e *transport.Event) ([]byte, bool) {
	switch {
	case e.Echo != 0:
		return l.echo(e.Echo)
	case e.Base == 0:
		if int64(len(e.Data)) != e.Size {
			return nil, false
		}
		return e.Data, true
	case e.Base != v.version:
		return nil, false
	}
	out := make([]byte, e.Size)
	copy(out, v.value)
	for _, r := range e.Ranges {
		if r.Off < 0 || r.Off > e.Size || int64(len(r.Data)) > e.Size-r.Off {
			return nil, false
		}
		copy(out[r.Off:], r.Data)
	}
	return out, true
}

func (s *Service) mkdirLocked(prefix []string, e *transport.Event) []Notice {
	dir, name := s.parentLocked(e.Name)
	if dir == nil || dir.children[name] != nil {
		return nil
	}
	d := &Dir{s: s, id: e.ID, name: name, parent: dir, mtime: e.MTime, children: map[string]Node{}}
	dir.children[name] = d
	s.c.index.put(d)
	return []Notice{{Kind: Created, Dir: true, Own: e.Own, ID: d.id, Parent: dir.id, MTime: d.mtime, Path: join(prefix, e.Name)}}
}

func (s *Service) removeLocked(prefix []string, e *transport.Event) []Notice {
	n := s.c.index.get(e.ID)
	parent, name := s.detachLocked(n)
	if parent == nil {
		return nil
	}
	_, dir := n.(*Dir)
	return []Notice{{Kind: Deleted, Dir: dir, Own: e.Own, ID: e.ID, Parent: parent.id, MTime: e.MTime,
		Path: join(prefix, joinName(parent.pathLocked(), name))}}
}

// detachLocked takes a node of this service out of the tree and marks it and what is below it gone. It returns where it
// was, nil if it is not in this service.
func (s *Service) detachLocked(n Node) (*Dir, string) {
	switch n := n.(type) {
	case *Variable:
		if n.s != s || n.gone {
			return nil, ""
		}
		n.gone = true
		delete(n.parent.children, n.name)
		s.c.index.drop(n)
		return n.parent, n.name
	case *Dir:
		if n.s != s || n.gone || n.parent == nil {
			return nil, ""
		}
		for _, child := range n.children {
			s.detachLocked(child)
		}
		n.gone = true
		delete(n.parent.children, n.name)
		s.c.index.drop(n)
		return n.parent, n.name
	}
	return nil, ""
}

func (s *Service) renameLocked(prefix []string, e *transport.Event) ([]Notice, bool) {
	n := s.c.index.get(e.ID)
	dir, name := s.parentLocked(e.Name)
	if dir == nil {
		return nil, false
	}
	if there := dir.children[name]; there != nil {
		if there.ID() == e.ID {
			return nil, true // known already
		}
		return nil, false
	}
	out := Notice{Kind: Renamed, Own: e.Own, ID: e.ID, Parent: dir.id, MTime: e.MTime, Path: join(prefix, e.Name)}
	switch n := n.(type) {
	case *Variable:
		if n.s != s || n.gone {
			return nil, false
		}
		out.OldParent, out.OldPath = n.parent.id, join(prefix, n.pathLocked())
		delete(n.parent.children, n.name)
		n.parent, n.name = dir, name
		dir.children[name] = n
	case *Dir:
		if n.s != s || n.gone || n.parent == nil {
			return nil, false
		}
		out.Dir, out.OldParent, out.OldPath = true, n.parent.id, join(prefix, n.pathLocked())
		delete(n.parent.children, n.name)
		n.parent, n.name = dir, name
		dir.children[name] = n
	default:
		return nil, false
	}
	return []Notice{out}, true
}

// drop forgets everything in the service: it is gone, or no longer for us to see.
func (s *Service) drop() {
	s.mu.Lock()
	acc := s.acc
	for _, n := range s.root.children {
		s.detachLocked(n)
	}
	s.gone, s.loaded, s.acc, s.root.gone = true, false, nil, true
	s.mu.Unlock()
	if acc != nil {
		acc.Close()
	}
}
