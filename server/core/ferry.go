package core

import (
	"iter"
	"slices"
	"strings"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/memfile"
)

// A directory with very much in it goes to another service in one step. What is in it, and is in the store already as it is, is not
// worth a place in a batch's layers, one for each: it is in lists, one for each directory.

// ferry is a directory's way to another service, with all below it that the batch has not changed before.
type ferry struct {
	from, to *service
	dirs     []ferried
	slots    []uint32 // which the variables had before
	// large: it is not put into the memory file of to by the committer, see [Core.landMemory].
	large bool
	// writes are for the memory file of to, if there is one, and it is not large.
	writes []memfile.Initial
}

// ferried is a directory as it is in the other service, and what is in it, in the order of names.
type ferried struct {
	now     *dirInfo // as it was put there
	entries []entry
}

// ferry has all that is below a directory go to where that is by now. It calls tell, unless that is nil, with each, directories
// before what is in them.
func (e *evaluator) ferry(l *cargo, top *dirInfo, tell func(n entry, at entryKey)) {
	f := &ferry{from: l.service, to: l.to, dirs: make([]ferried, len(l.dirs)), large: l.count > e.most}
	if f.large {
		f.to.content.Load().expect(l.count)
	}
	f.slots = make([]uint32, 0, l.count)
	f.dirs[0].now = top
	next := 0 // the directories are in the order in which they are found
	for i, old := range l.dirs {
		in := f.dirs[i].now.dir
		e.departed.set(old.directory, in)
		if e.ferried == nil {
			e.ferried = map[*directory][]entry{}
		}
		list := old.entries[:0] // of each entry there is one, most often
		if old.changed {
			list = make([]entry, 0, len(old.entries))
		}
		changed := 0
		from := unpacking{packed: l.packing[old.directory]}
		for _, was := range old.entries {
			var n entry
			if was.v != nil {
				v, slot := from.take(was)
				if v == nil {
					now := *was.v
					now.dir, v, slot = in, &now, now.slot
				}
				v.slot = l.to.content.Load().takeSlot()
				n.v, f.slots = v, append(f.slots, slot)
			} else {
				next++
				d := *was.d
				d.dir, d.in = l.makeAnew(was.d.dir), in
				f.dirs[next].now, n.d = &d, &d
				e.infos.set(d.dir, &d)
				e.setPrefix(d.dir, d.isOwnPrefix())
				if e.islands.get(d.dir.key()) != nil {
					e.setIsland(d.dir, l.service.id, l.to.id)
				}
			}
			if !old.changed {
				list = append(list, n)
				continue
			}
			if k := (entryKey{old.directory, was.name()}); e.isOver(k) { // it is stored with the batch
				e.entries.set(k, entry{})
				e.entries.set(entryKey{in, k.name}, n)
				changed++
				if n.v != nil {
					e.taken = append(e.taken, slotRef{l.to, n.v.slot})
					e.ids.set(n.v.id, n.v)
					e.differs(n.v, was.v, []diff.Range{})
				}
			} else {
				list = append(list, n)
			}
		}
		if old.changed {
			slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.name(), b.name()) })
		}
		f.dirs[i].entries = list
		e.ferried[in] = list
		e.counts.set(in, len(list)+changed)
		if tell == nil {
			continue
		}
		for _, was := range old.entries {
			at := entryKey{in, was.name()}
			tell(e.entries.get(at), at)
		}
	}
	e.ferries = append(e.ferries, f)
}

// giveBack frees the slots of what has not come after all.
func (f *ferry) giveBack() {
	for _, d := range f.dirs {
		for _, n := range d.entries {
			if n.v != nil {
				f.to.content.Load().giveSlot(n.v.slot)
			}
		}
	}
}

// isOver reports whether the batch has done something under a name.
func (b *batch) isOver(k entryKey) bool {
	_, over := b.entries.over[k]
	return over
}

// had is what a directory has without the batch's changes, but what it has brought along: in the order of names, many at a time.
func (b *batch) had(d *directory) iter.Seq[[]entry] {
	if d.isNew() {
		return slices.Values([][]entry{b.ferried[d]})
	}
	return frozen{d.service.content.Load().nodes.root}.in(d.id)
}

// isNew reports whether a directory is of the batch that is being made: what the view has by its id it had in another service.
func (d *directory) isNew() bool { return d.now == nil && d.id != 0 }

// hadUnder is what a directory had under a name.
func (b *batch) hadUnder(k entryKey) entry {
	if !k.in.isNew() {
		return k.in.service.content.Load().get(k)
	}
	list := b.ferried[k.in]
	i, found := slices.BinarySearchFunc(list, k.name, func(n entry, name string) int { return strings.Compare(n.name(), name) })
	if !found {
		return entry{}
	}
	return list[i]
}

// hadBy is the variable of an id. One that the batch had changed before its directory went is what it was until then: that is what the
// store has.
func (b *batch) hadBy(id uint64) *variable {
	v := b.view.variable(id)
	for v != nil && !b.isOver(v.at()) {
		in := b.departed.get(v.dir)
		if in == nil {
			break
		}
		v = b.hadUnder(entryKey{in, v.name}).v
	}
	return v
}

// forMemory prepares what a memory file has to be told, if there is one: not of what the batch has changed since.
func (f *ferry) forMemory(b *batch) {
	c := f.to.content.Load()
	if f.large || c.mem == nil && c.building == nil {
		return
	}
	for _, d := range f.dirs {
		dir := d.now.dir
		if b.departed.get(dir) != nil {
			continue
		}
		path, least := b.path(entryKey{in: dir}), dir.versionBy(0, b.infos.get)
		for _, n := range d.entries {
			if n.v != nil && !b.isOver(n.v.at()) {
				f.writes = append(f.writes, n.v.initial(path+n.v.name, max(n.v.version, least)))
			}
		}
	}
}

// apply takes it to where it goes. The caller holds view.mu.
func (f *ferry) apply(v *view) {
	from, to := f.from.content.Load(), f.to.content.Load()
	for _, d := range f.dirs {
		dir := d.now.dir
		from.nodes.deleteDir(dir.id) // what the batch has changed before has gone as well
		to.nodes.setAll(d.entries)
		for _, n := range d.entries {
			if n.v != nil {
				v.byID.put(n.v)
			}
		}
		dir.count, dir.now = len(d.entries), d.now
		to.prefixed(dir, d.now.isOwnPrefix())
	}
}
