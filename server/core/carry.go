package core

import (
	"github.com/commy-project/commyfs/model"
)

// What goes to another service becomes another object there, with the same id. In the store a directory's record alone changes its
// place: what is in it lies where it did.

// cargo is what has been taken out of a service and has not been put into another yet.
type cargo struct {
	target
	to *service
	packing
	least uint64 // the least version of what is in a directory, so far
	dirs  []hold // a directory that was taken out, and those below it, each before those that are in it
	count int    // of all that is below
}

// hold is a directory and what is in it, in the order of names if changed does not say otherwise. The first directory in a cargo is
// not in one of it.
type hold struct {
	*directory
	entries []entry
	changed bool // by the batch
}

// maxCarried bounds how many islands go with a directory: each is a record to be written.
const maxCarried = maxReportKeys / 2

// maxBrought bounds what is in the directories that one report takes to another service, but for the last: others wait meanwhile.
const maxBrought = 10_000

// transfer puts what t says at a free place of another service.
func (e *evaluator) transfer(t target, at entryKey, path string) (model.Result, error) {
	if e.brought > maxBrought {
		return model.Result{}, model.ErrTooLarge
	}
	l, err := e.lift(t, at.in.service, 0)
	if err != nil {
		return model.Result{}, err
	}
	return e.land(l, at, path, 0), nil
}

// lift takes what t says out of its service, to be put into another. other is what comes in its place, if anything does.
func (e *evaluator) lift(t target, to *service, other uint64) (*cargo, error) {
	l := &cargo{target: t, to: to, packing: e.packing}
	if t.v != nil {
		e.drop(t.v)
		e.last().moved, e.last().other = to.id, other
		return l, nil
	}
	l.least = t.d.dir.versionBy(0, e.infos.get)
	if err := e.gather(l); err != nil {
		return nil, err
	}
	e.tick()
	e.raise(t.service, e.highest(t.entry))
	e.put(t.at, entry{})
	e.stirred(t.at.in)
	e.emit(&event{service: t.service, kind: model.EventRmdir, name: t.path, time: e.now, d: t.d, moved: to.id, other: other})
	return l, nil
}

// gather finds all that is below a directory.
func (e *evaluator) gather(l *cargo) error {
	over := map[*directory][]string{} // what the batch has named in each directory
	for k := range e.entries.over {
		over[k.in] = append(over[k.in], k.name)
	}
	islands := 0
	l.dirs = []hold{{directory: l.d.dir}}
	for i := 0; i < len(l.dirs); i++ {
		d := l.dirs[i].directory
		if l.service.content.Load().holdsDamaged(d) {
			return errDamaged
		}
		if i > 0 && e.islands.get(d.key()) != nil {
			if islands++; islands > maxCarried {
				return model.ErrCrossDevice
			}
		}
		list := make([]entry, 0, max(e.counts.get(d), 0))
		changed := len(over[d]) > 0
		for part := range e.had(d) {
			if !changed {
				list = append(list, part...)
				continue
			}
			for _, n := range part {
				if !e.isOver(entryKey{d, n.name()}) {
					list = append(list, n)
				}
			}
		}
		for _, name := range over[d] {
			if n := e.entries.get(entryKey{d, name}); !n.none() {
				list = append(list, n)
			}
		}
		for _, n := range list {
			if n.d != nil {
				l.dirs = append(l.dirs, hold{directory: n.d.dir})
			}
		}
		l.dirs[i].entries, l.dirs[i].changed = list, changed
		l.count += len(list)
	}
	return nil
}

// land puts what was lifted at a free place of its service.
func (e *evaluator) land(l *cargo, at entryKey, path string, other uint64) model.Result {
	if l.v != nil {
		r := e.settle(l.v, at, path)
		e.last().moved, e.last().other = l.service.id, other
		return r
	}
	above := e.floors.get(l.to)
	e.raise(l.to, e.floors.get(l.service)) // no directory's least version is above what comes next in its service
	e.tick()
	d := *l.d
	d.dir = l.makeAnew(l.d.dir)
	d.in, d.name, d.least = at.in, at.name, l.least
	if d.dir.had {
		d.least = max(l.least, above+1)
	}
	e.put(at, entry{d: &d})
	e.setIsland(d.dir, l.service.id, l.to.id)
	e.stirred(at.in)
	told := l.count <= logLength
	e.emit(&event{service: l.to, kind: model.EventMkdir, name: path, time: e.now, d: &d, moved: l.service.id, other: other, untold: !told})
	tell := func(n entry, at entryKey) {
		ev := &event{service: l.to, kind: model.EventMkdir, name: e.path(at), time: e.now, d: n.d, moved: l.service.id}
		if n.v != nil {
			ev.kind, ev.v = model.EventSet, e.risen(n.v)
		}
		e.emit(ev)
	}
	if !told {
		tell = nil
	}
	e.ferry(l, &d, tell)
	e.brought += l.count
	return model.Result{ID: d.id, MTime: d.mtime}
}

// makeAnew makes a directory that is taken along what it is to be in the other service.
func (l *cargo) makeAnew(d *directory) *directory {
	now := d.copied(l.to)
	if p := l.packing[d]; p != nil {
		*p.in = *now
		return p.in
	}
	return now
}

// copied is the directory in another service, without what is in it.
func (d *directory) copied(to *service) *directory {
	return &directory{id: d.id, service: to, home: d.home, prefix: d.prefix, had: d.had, longest: d.longest, highest: d.highest}
}

// last is the event that was added last.
func (b *batch) last() *event { return b.events[len(b.events)-1] }
