package sync

import (
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// placing puts the directories of a snapshot where they belong. What is in the way, and belongs elsewhere, goes there first, so that it
// stays what it is, with all that is in it: a directory that was renamed while nobody told us, and has been made again since.
type placing struct {
	s       *Service
	prefix  []string
	notices *[]Notice
	dirs    []model.Dir
	at      map[string]int // by their names
	by      map[uint64]int // by their ids
	state   []placed
}

type placed byte

const (
	placedNot placed = iota
	placedNow        // something else may have to go first
	placedDone
)

// placeDirsLocked places all, parents before children.
func (s *Service) placeDirsLocked(prefix []string, dirs []model.Dir, notices *[]Notice) {
	slices.SortFunc(dirs, func(a, b model.Dir) int { return strings.Compare(a.Name, b.Name) })
	p := &placing{s: s, prefix: prefix, notices: notices, dirs: dirs, at: map[string]int{}, by: map[uint64]int{}, state: make([]placed, len(dirs))}
	for i := range dirs {
		p.at[dirs[i].Name], p.by[dirs[i].ID] = i, i
	}
	for i := range dirs {
		p.place(i)
	}
}

func (p *placing) place(i int) {
	if p.state[i] != placedNot {
		return
	}
	p.state[i] = placedNow
	d := &p.dirs[i]
	if at := strings.LastIndexByte(d.Name, '/'); at > 0 {
		if parent, ok := p.at[d.Name[:at]]; ok {
			p.place(parent)
		}
	}
	if there := p.s.lookupLocked(d.Name); there != nil && there.ID() != d.ID {
		if other, ok := p.by[there.ID()]; ok {
			p.place(other)
		}
	}
	if p.state[i] == placedDone { // exchanged with what was in the way
		return
	}
	p.state[i] = placedDone
	e := model.Event{Kind: model.EventMkdir, ID: d.ID, Name: d.Name, MTime: d.MTime, Mode: d.Mode}
	n, _ := p.s.nodeLocked(d.ID, d.Name).(*Dir)
	if n == nil {
		p.s.placeLocked(p.prefix, &e, p.notices)
		return
	}
	was := n.pathLocked()
	if was == d.Name {
		return
	}
	if parent, _ := p.s.parentLocked(d.Name); parent == nil || within(parent, n) {
		p.state[i] = placedNot // the directory that it belongs into has to come first
		return
	}
	e.Kind = model.EventRenameDir
	if there, _ := p.s.lookupLocked(d.Name).(*Dir); there != nil {
		if other, ok := p.by[there.id]; ok && p.state[other] == placedNow && p.dirs[other].Name == was {
			e.OldName, e.Other, p.state[other] = was, there.id, placedDone
			list, _ := p.s.applyLocked(nil, p.prefix, &e)
			*p.notices = append(*p.notices, list...)
			return
		}
	}
	p.s.placeLocked(p.prefix, &e, p.notices)
}
