package sync

import (
	"slices"
	"strings"
	"unique"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// apply carries out events in order and returns what became visible. ok is false when an event does not fit the copy
// (a patch over a version that is not here, an echo of a report that was given up): the caller loads the service anew.
func (s *Service) apply(rev int64, events []model.Event) (notices []Notice, ok bool) {
	prefix := s.prefix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != watched {
		return nil, true
	}
	before := s.rev
	defer func() { s.stamp(notices, before, rev) }()
	s.rev = rev
	notices = make([]Notice, 0, len(events))
	with := "" // what comes with a directory from another service changes no directory
	for i := range events {
		e := &events[i]
		switch {
		case e.Moved == 0:
		case with != "" && strings.HasPrefix(e.Name, with):
			e.Time = 0
		case e.Kind == model.EventMkdir:
			with = e.Name + "/"
		}
		var fits bool
		if notices, fits = s.applyLocked(notices, prefix, e); !fits {
			return notices, false
		}
	}
	return notices, true
}

// stamp says which service the notices are of, and which revisions they lead from and to.
func (s *Service) stamp(notices []Notice, before, rev int64) {
	for i := range notices {
		n := &notices[i]
		n.Service, n.Before, n.Rev, n.Told = s.id, before, rev, before
		if i == len(notices)-1 {
			n.Told = rev
		}
		if n.Kind == Renamed {
			n.OldService, n.OldRev, n.OldTold = s.id, n.Rev, n.Told
		}
	}
}

// applyLocked appends what became visible by one event. Most are new values: they cost no slice of their own.
func (s *Service) applyLocked(out []Notice, prefix []string, e *model.Event) ([]Notice, bool) {
	var list []Notice
	fits := false
	switch e.Kind {
	case model.EventSet:
		return s.setLocked(out, prefix, e)
	case model.EventMkdir:
		list, fits = s.mkdirLocked(prefix, e)
	case model.EventDelete, model.EventRmdir:
		list, fits = s.removeLocked(prefix, s.nodeLocked(e.ID, e.Name), e), true
	case model.EventRename, model.EventRenameDir:
		list, fits = s.renameLocked(prefix, e)
	case model.EventMeta:
		list, fits = s.metaLocked(prefix, e)
	}
	return append(out, list...), fits
}

// metaLocked applies another mode or mtime.
func (s *Service) metaLocked(prefix []string, e *model.Event) ([]Notice, bool) {
	if e.ID == s.id {
		s.root.mtime, s.root.mode = e.MTime, e.Mode
		return []Notice{{Kind: MetaChanged, Dir: true, Own: e.Own, ID: s.id, MTime: e.MTime, Path: prefix}}, true
	}
	n := Notice{Kind: MetaChanged, Own: e.Own, ID: e.ID, MTime: e.MTime}
	switch x := s.nodeLocked(e.ID, e.Name).(type) {
	case *Variable:
		if e.Version < x.version {
			return nil, true
		}
		x.mtime, x.mode = e.MTime, e.Mode
		if e.Own {
			s.c.keeper.saw(x.id)
		}
		n.Parent, n.Path = x.parent.id, join(prefix, x.pathLocked())
	case *Dir:
		x.mtime, x.mode = e.MTime, e.Mode
		n.Dir, n.Parent, n.Path = true, x.parent.id, join(prefix, x.pathLocked())
	default:
		return nil, false
	}
	return []Notice{n}, true
}

// touched sets the time of a directory in which something has come, gone or been renamed.
func (d *Dir) touched(e *model.Event) {
	if e.Time != 0 {
		d.mtime = e.Time
	}
}

func (s *Service) setLocked(out []Notice, prefix []string, e *model.Event) ([]Notice, bool) {
	v, _ := s.nodeLocked(e.ID, e.Name).(*Variable)
	created := v == nil
	if created {
		if e.Name == "" {
			return out, false
		}
		dir, name := s.parentLocked(e.Name)
		if dir == nil || dir.childLocked(name) != nil || isAbove(s.c.index.get(e.ID)) {
			return out, false
		}
		v = &Variable{s: s, id: e.ID, name: name, parent: dir}
	} else if e.Version == v.version && (e.MTime != v.mtime || e.Mode != v.mode) {
		list, fits := s.metaLocked(prefix, e)
		return append(out, list...), fits
	} else if e.Version <= v.version {
		return out, true // known already: a resumed stream may overlap
	}
	if s.buffered() {
		value, ok := v.nextValue(prefix, e)
		if !ok {
			return out, false
		}
		v.hold(value)
	} else {
		v.data, v.size = nil, e.Size
	}
	v.version, v.mtime, v.mode, v.writer = e.Version, e.MTime, e.Mode, unique.Make(e.Writer)
	v.setSlot(e.Slot)
	if e.Own {
		s.c.keeper.saw(v.id)
	}
	n := Notice{Kind: Modified, Own: e.Own, ID: v.id, Variable: v, Parent: v.parent.id, MTime: v.mtime}
	if created {
		addLocked(v)
		v.parent.touched(e)
		n.Kind, n.Path, n.move = Created, join(prefix, e.Name), s.c.arriving(v, e, s.c.index.put(v))
	} else {
		n.Path = join(prefix, v.pathLocked())
	}
	return append(out, n), true
}

// maxPatched bounds what a patch can make of a value, whatever the server says: no server's limit is higher.
const maxPatched = memfile.MaxValue

// nextValue returns the bytes that e makes of the variable's value. The old bytes are not touched: readers hold them.
func (v *Variable) nextValue(prefix []string, e *model.Event) ([]byte, bool) {
	switch {
	case e.Echo != 0:
		return v.s.c.echo(prefix, e)
	case e.Base == 0:
		if int64(len(e.Data)) != e.Size {
			return nil, false
		}
		return e.Data, true
	case e.Base != v.version || e.Size < 0 || e.Size > maxPatched:
		return nil, false
	}
	out := make([]byte, e.Size)
	copy(out, v.value())
	for _, r := range e.Ranges {
		if r.Off < 0 || r.Off > e.Size || int64(len(r.Data)) > e.Size-r.Off {
			return nil, false
		}
		copy(out[r.Off:], r.Data)
	}
	return out, true
}

func (s *Service) mkdirLocked(prefix []string, e *model.Event) ([]Notice, bool) {
	if s.nodeLocked(e.ID, e.Name) != nil {
		return nil, true // known already
	}
	dir, name := s.parentLocked(e.Name)
	if dir == nil || dir.childLocked(name) != nil || isAbove(s.c.index.get(e.ID)) {
		return nil, false
	}
	d := &Dir{s: s, id: e.ID, name: name, parent: dir, mtime: e.MTime, mode: e.Mode}
	addLocked(d)
	dir.touched(e)
	return []Notice{{Kind: Created, Dir: true, Own: e.Own, ID: d.id, Parent: dir.id, MTime: d.mtime, Path: join(prefix, e.Name),
		move: s.c.arriving(d, e, s.c.index.put(d))}}, true
}

// isAbove reports whether a node cannot be in a service. No server of ours gives what can be one its id.
func isAbove(n Node) bool {
	switch n.(type) {
	case *Tenant, *Service:
		return true
	}
	return false
}

// nodeLocked returns what has the id in this service, nil if nothing has. name is where to look when the id stands for
// a node of another service already: it was moved there, and the stream of that service was ahead of ours.
func (s *Service) nodeLocked(id uint64, name string) Node {
	n := s.c.index.get(id)
	if n == nil || s.holdsLocked(n, id) {
		return n // nothing has it, or this
	}
	if n := s.lookupLocked(name); s.holdsLocked(n, id) {
		return n
	}
	return nil
}

func (s *Service) holdsLocked(n Node, id uint64) bool {
	switch n := n.(type) {
	case *Variable:
		return n.id == id && n.s == s && !n.gone
	case *Dir:
		return n.id == id && n.s == s && !n.gone
	}
	return false
}

func (s *Service) removeLocked(prefix []string, n Node, e *model.Event) []Notice {
	out := s.takeApart(prefix, n, e)
	moves := s.leaving(n, e)
	if d, ok := n.(*Dir); ok && moves == nil && e.Kind == 0 && !d.gone { // in the way of something
		for _, in := range slices.Backward(below(nil, d)[1:]) {
			out = append(out, s.removeLocked(prefix, in, e)...)
		}
	}
	if moves != nil && (e.Moved != 0 || s.c.moves.gathering > 0) {
		s.c.away.leaves(moves.nodes, e.Moved != 0)
	}
	parent, name := s.detachLocked(n)
	if parent == nil {
		moves.arrived(s.c)
		return nil
	}
	parent.touched(e)
	_, dir := n.(*Dir)
	if v, ok := n.(*Variable); ok {
		v.removed = moves == nil
	}
	return append(out, Notice{Kind: Deleted, Dir: dir, Own: e.Own, ID: n.ID(), Parent: parent.id, MTime: e.MTime,
		Path: join(prefix, joinName(parent.pathLocked(), name)), move: moves})
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
		n.setSlot(noSlot)
		takeLocked(n)
		s.c.index.drop(n)
		return n.parent, n.name
	case *Dir:
		if n.s != s || n.gone || n.parent == nil {
			return nil, ""
		}
		s.clearLocked(n)
		n.gone = true
		takeLocked(n)
		s.c.index.drop(n)
		return n.parent, n.name
	}
	return nil, ""
}

// clearLocked takes all that is below a directory out of the tree and marks it gone.
func (s *Service) clearLocked(d *Dir) {
	d.dirs.all(func(n *Dir) {
		s.clearLocked(n)
		n.gone = true
		s.c.index.drop(n)
	})
	d.vars.all(func(v *Variable) {
		v.gone = true
		v.setSlot(noSlot)
		s.c.index.drop(v)
	})
	d.dirs.clear()
	d.vars.clear()
}

func (s *Service) renameLocked(prefix []string, e *model.Event) ([]Notice, bool) {
	n := s.nodeLocked(e.ID, e.OldName)
	dir, name := s.parentLocked(e.Name)
	if dir == nil {
		return nil, false
	}
	if there := dir.childLocked(name); there != nil {
		switch there.ID() {
		case e.ID:
			return nil, true // known already
		case e.Other:
			return s.exchangeLocked(prefix, e, n, there)
		}
		return nil, false
	}
	if within(dir, n) {
		return nil, false // below itself
	}
	out := Notice{Kind: Renamed, Own: e.Own, ID: e.ID, Parent: dir.id, MTime: e.MTime, Path: join(prefix, e.Name)}
	switch n := n.(type) {
	case *Variable:
		out.OldParent, out.OldPath = n.parent.id, join(prefix, n.pathLocked())
		n.parent.renaming(n, n.name)
		takeLocked(n)
		n.parent.touched(e)
		n.parent, n.name = dir, name
		addLocked(n)
		dir.touched(e)
		out.Risen = risenLocked(nil, n, e)
	case *Dir:
		out.Dir, out.OldParent, out.OldPath = true, n.parent.id, join(prefix, n.pathLocked())
		n.parent.renaming(n, n.name)
		takeLocked(n)
		n.parent.touched(e)
		n.parent, n.name = dir, name
		n.moved = s.c.renames.Add(1)
		addLocked(n)
		dir.touched(e)
		out.Risen = risenLocked(nil, n, e)
	default:
		return nil, false
	}
	return []Notice{out}, true
}

// risenLocked gives what was renamed, and all that is in it, the versions that it has by that. Where the copy is ahead it has them.
func risenLocked(out []Rise, n Node, e *model.Event) []Rise {
	switch n := n.(type) {
	case *Variable:
		if to := e.Risen(n.version); to != n.version {
			out = append(out, Rise{n.id, n.version, to})
			n.version = to
		}
	case *Dir:
		if e.Above == 0 {
			return out // none can have risen
		}
		n.dirs.all(func(d *Dir) { out = risenLocked(out, d, e) })
		n.vars.all(func(v *Variable) { out = risenLocked(out, v, e) })
	}
	return out
}

// drop forgets everything in the service: it is gone, or no longer for us to see.
func (s *Service) drop() {
	s.mu.Lock()
	acc := s.acc
	s.clearLocked(s.root)
	s.state, s.root.gone = unwatched, true
	s.setAccessor(nil)
	s.mu.Unlock()
	if acc != nil {
		acc.Close()
	}
}
