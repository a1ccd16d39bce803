package sync

import (
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// snapshot collects the pages of a listing of a service, or of the changes since an earlier one: readers see it all at
// once or nothing.
type snapshot struct {
	filling *filling // what the pages have, but changes, if there was nothing in the service before
	begun   bool
	root    model.Dir
	dirs    []model.Dir
	same    []sameVariable   // of the variables that are listed, those that are so in the copy
	vars    []model.Variable // others
	changes []model.Event
}

// sameVariable is a variable that a listing finds as it is in the copy, but for where it is in the memory file.
type sameVariable struct {
	v    *Variable
	slot uint32
}

func (sn *snapshot) add(s *Service, p *model.Snapshot, values bool) {
	if first := !sn.begun; first && !p.Resumed && s.Blank() {
		sn.filling = newFilling(s, values)
	}
	sn.begun = true
	sn.root = p.Root
	if sn.filling != nil {
		sn.filling.add(p.Dirs, p.Vars)
	} else {
		sn.dirs = append(sn.dirs, p.Dirs...)
		sn.compare(s, p.Vars, values)
	}
	sn.changes = append(sn.changes, p.Changes...)
}

// compare puts variables aside of which there is nothing to learn: after a reconnect a million of them can be listed again.
func (sn *snapshot) compare(s *Service, vars []model.Variable, values bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if sn.same == nil && len(vars) > 0 {
		sn.same = make([]sameVariable, 0, s.root.variablesLocked())
	}
	for i := range vars {
		in := &vars[i]
		v, _ := s.c.index.get(in.ID).(*Variable)
		if v != nil && v.s == s && !v.gone && v.version == in.Version && v.mtime == in.MTime && v.mode == in.Mode && v.size == in.Size &&
			(!values || v.data != nil || v.size == 0) && v.isLocked(in.Name) {
			sn.same = append(sn.same, sameVariable{v, in.Slot})
		} else {
			sn.vars = append(sn.vars, *in)
		}
	}
}

// isLocked reports whether the variable has the name inside its service.
func (v *Variable) isLocked(name string) bool {
	dir, ok := strings.CutSuffix(name, v.name)
	switch {
	case !ok:
		return false
	case v.parent.parent == nil:
		return dir == ""
	}
	return v.pathLocked() == name
}

// variablesLocked is how many variables are in the directory and below.
func (d *Dir) variablesLocked() (n int) {
	for i := range d.vars.leaves {
		n += len(d.vars.leaves[i].items)
	}
	d.dirs.all(func(sub *Dir) { n += sub.variablesLocked() })
	return n
}

// replace makes the service what the snapshot says, keeping the nodes that are the same, and returns the differences as
// notices if there was something before, else only what may have moved. acc serves the values from now on. ok is false, and nothing is done, if the snapshot is
// not of what is here.
func (s *Service) replace(sess *session, sn *snapshot, rev int64, acc accessor) (notices []Notice, ok bool) {
	prefix := s.prefix()
	s.mu.Lock()
	defer s.mu.Unlock()
	if sn.filling != nil && (s.filled || !s.root.emptyLocked()) || slices.ContainsFunc(sn.same, func(x sameVariable) bool { return x.v.gone }) {
		return nil, false
	}
	first, before := !s.filled, s.rev
	s.rev, s.listed, s.filled = rev, rev, true
	s.soundLocked()
	s.state, s.on = watched, sess
	s.setAccessor(acc)
	if first {
		defer s.c.moves.tally.silence(s)
	}
	if s.root.emptyLocked() && first {
		notices = s.fillLocked(sn, prefix)
		s.stamp(notices, before, rev)
		return notices, true
	}

	notices = make([]Notice, 0, len(sn.dirs)+len(sn.vars)) // about one of each that is not as it was
	s.placeLocked(prefix, sn, &notices)
	s.c.moves.listed = len(notices) > 0
	for i := range sn.vars {
		in := &sn.vars[i]
		known, _ := s.nodeLocked(in.ID, in.Name).(*Variable)
		e := model.Event{Kind: model.EventSet, ID: in.ID, Name: in.Name, Version: in.Version, MTime: in.MTime,
			Mode: in.Mode, Writer: in.Writer, Size: in.Size, Slot: in.Slot, Data: in.Data}
		notices, _ = s.applyLocked(notices, prefix, &e)
		if known != nil { // the slot can change with a new server, the version does not
			known.setSlot(in.Slot)
			if s.buffered() && known.version == in.Version && int64(len(in.Data)) == in.Size {
				known.hold(in.Data) // what it holds can be of before the service was mapped
			}
		}
	}
	s.describeLocked(prefix, sn, &notices)
	if first {
		notices = slices.DeleteFunc(notices, func(n Notice) bool { return n.move == nil })
		for i := range notices {
			notices[i].move.first = true
		}
	}
	s.stamp(notices, before, rev)
	return notices, true
}

// describeLocked gives the directories that were known before the modes and times of the snapshot.
func (s *Service) describeLocked(prefix []string, sn *snapshot, notices *[]Notice) {
	if sn.root.MTime != s.root.mtime || sn.root.Mode != s.root.mode {
		ns, _ := s.metaLocked(prefix, &model.Event{ID: s.id, MTime: sn.root.MTime, Mode: sn.root.Mode})
		*notices = append(*notices, ns...)
	}
	for _, in := range sn.dirs {
		if d, _ := s.nodeLocked(in.ID, in.Name).(*Dir); d != nil && (in.MTime != d.mtime || in.Mode != d.mode) {
			ns, _ := s.metaLocked(prefix, &model.Event{ID: in.ID, Name: in.Name, MTime: in.MTime, Mode: in.Mode})
			*notices = append(*notices, ns...)
		}
	}
}

// pruneLocked removes what the snapshot does not have, children first. all: it has all variables.
func (s *Service) pruneLocked(d *Dir, keep map[uint64]bool, all bool, prefix []string, notices *[]Notice) {
	var gone []Node
	d.dirs.all(func(n *Dir) {
		if !keep[n.id] {
			gone = append(gone, n)
		}
	})
	if !all {
		d.vars.all(func(v *Variable) {
			if !keep[v.id] {
				gone = append(gone, v)
			}
		})
	}
	d.dirs.all(func(n *Dir) {
		if keep[n.id] || !s.leaves(n, &model.Event{}) { // else it has left with all that is in it
			s.pruneLocked(n, keep, all, prefix, notices)
		}
	})
	for _, n := range gone {
		*notices = append(*notices, s.removeLocked(prefix, n, &model.Event{})...)
	}
}
