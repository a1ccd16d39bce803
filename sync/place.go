package sync

import (
	"slices"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// placing has what a snapshot lists be where it belongs, as the nodes that it was. What belongs elsewhere is taken out first, with all
// that is in it, then what is gone is removed, and then everything comes to its place, which is free.
type placing struct {
	s       *Service
	prefix  []string
	notices *[]Notice
	dirs    []model.Dir       // by their names: parents come first
	at      map[string]uint64 // their ids, by their names
	out     []placed
}

// placed is something that was taken out. It still says where it was.
type placed struct {
	n    Node
	in   uint64 // the directory that it belongs to
	name string
	told Notice
}

// placeLocked places directories and the variables that are known, and removes what is gone.
func (s *Service) placeLocked(prefix []string, sn *snapshot, notices *[]Notice) {
	p := &placing{s: s, prefix: prefix, notices: notices, dirs: sn.dirs, at: make(map[string]uint64, len(sn.dirs))}
	slices.SortFunc(p.dirs, func(a, b model.Dir) int { return strings.Compare(a.Name, b.Name) })
	for i := range p.dirs {
		p.at[p.dirs[i].Name] = p.dirs[i].ID
	}
	all := len(sn.same) == s.root.variablesLocked() // none is gone
	keep := p.keep(sn, all)
	for i := range p.dirs {
		if n, _ := s.nodeLocked(p.dirs[i].ID, p.dirs[i].Name).(*Dir); n != nil {
			p.take(n, p.dirs[i].Name, p.dirs[i].MTime)
		}
	}
	for i := range sn.vars {
		if v, _ := s.nodeLocked(sn.vars[i].ID, sn.vars[i].Name).(*Variable); v != nil {
			p.take(v, sn.vars[i].Name, sn.vars[i].MTime)
		}
	}
	p.takeSame(sn.same)
	for i := range p.out {
		n := p.out[i].n
		from := placeOf(n)
		from.dir.renaming(n, from.name)
		takeLocked(n)
	}
	s.pruneLocked(s.root, keep, all, prefix, notices)
	for i := range p.out {
		if d, ok := p.out[i].n.(*Dir); ok {
			s.pruneLocked(d, keep, all, prefix, notices)
		}
	}
	p.put()
}

// keep are the ids of what stays.
func (p *placing) keep(sn *snapshot, all bool) map[uint64]bool {
	keep := make(map[uint64]bool, len(sn.dirs)+len(sn.vars))
	for i := range sn.dirs {
		keep[sn.dirs[i].ID] = true
	}
	for i := range sn.vars {
		keep[sn.vars[i].ID] = true
	}
	for _, x := range sn.same {
		x.v.setSlot(x.slot)
		if !p.s.buffered() {
			x.v.data = nil
		}
		if !all {
			keep[x.v.id] = true
		}
	}
	return keep
}

// parent returns the id of the directory that a name belongs to, and its last component.
func (p *placing) parent(name string) (uint64, string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return p.s.id, name
	}
	return p.at[name[:i]], name[i+1:]
}

// take notes what belongs elsewhere.
func (p *placing) take(n Node, name string, mtime int64) {
	from := placeOf(n)
	in, base := p.parent(name)
	if from.dir.id == in && from.name == base {
		return
	}
	told := Notice{Kind: Renamed, ID: n.ID(), OldParent: from.dir.id, OldPath: join(p.prefix, joinName(from.dir.pathLocked(), from.name)), MTime: mtime}
	_, told.Dir = n.(*Dir)
	p.out = append(p.out, placed{n, in, base, told})
}

// takeSame takes the variables that have the same name in another directory of that name.
func (p *placing) takeSame(same []sameVariable) {
	other := map[*Dir]string{}
	var look func(d *Dir)
	look = func(d *Dir) {
		if name := d.pathLocked(); d.parent != nil && p.at[name] != d.id {
			other[d] = name
		}
		d.dirs.all(look)
	}
	look(p.s.root)
	if len(other) == 0 {
		return
	}
	for _, x := range same {
		if dir, is := other[x.v.parent]; is {
			p.take(x.v, joinName(dir, x.v.name), x.v.mtime)
		}
	}
}

// put puts everything where it belongs, and makes the directories that are new.
func (p *placing) put() {
	byID := map[uint64]*placed{}
	var rest []*placed // variables: when all directories are there
	for i := range p.out {
		x := &p.out[i]
		if byID[x.n.ID()] = x; !x.told.Dir {
			rest = append(rest, x)
		}
	}
	for i := range p.dirs {
		d := &p.dirs[i]
		if x := byID[d.ID]; x != nil {
			p.putOne(x)
		} else if n, _ := p.s.nodeLocked(d.ID, d.Name).(*Dir); n == nil {
			*p.notices, _ = p.s.applyLocked(*p.notices, p.prefix, &model.Event{Kind: model.EventMkdir, ID: d.ID, Name: d.Name, MTime: d.MTime, Mode: d.Mode})
		}
	}
	for _, x := range rest {
		p.putOne(x)
	}
}

func (p *placing) putOne(x *placed) {
	dir, _ := p.s.nodeLocked(x.in, "").(*Dir)
	if x.in == p.s.id {
		dir = p.s.root
	}
	if dir == nil || dir.childLocked(x.name) != nil { // no server of ours sends such
		dir = nil
	}
	if dir == nil {
		addLocked(x.n)
		*p.notices = append(*p.notices, p.s.removeLocked(p.prefix, x.n, &model.Event{})...)
		return
	}
	putAt(x.n, nodePlace{dir, x.name})
	x.told.Parent, x.told.Path = dir.id, join(p.prefix, joinName(dir.pathLocked(), x.name))
	*p.notices = append(*p.notices, x.told)
}
